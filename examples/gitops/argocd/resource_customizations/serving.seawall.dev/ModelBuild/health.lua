-- A build ends once. What only an administrator can put right does not end by itself.
local stuck = { ArtifactStoreMissing = true, OptimizerImageMissing = true }
local ended = { Succeeded = "Healthy", Refused = "Degraded", Failed = "Degraded" }

local status = obj.status
if status == nil or status.phase == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Seawall has not looked at this build yet" }
end

local said = { reason = status.phase }
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Complete" then
    said = condition
  end
end
return {
  status = ended[status.phase] or (stuck[said.reason] and "Degraded" or "Progressing"),
  message = said.reason .. ": " .. (said.message or ""),
}
