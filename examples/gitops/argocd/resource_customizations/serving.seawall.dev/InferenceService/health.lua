-- Healthy: what Git asks for serves. Progressing: it is on its way. Suspended: somebody asked it to wait.
-- Degraded: somebody has to look. Objectives that are missed, and how many replicas there are, say nothing here.

-- Reasons of Ready that end by themselves; any other one of a service that is not ready needs somebody.
local waiting = {
  Building = true,
  Loading = true,
  NotStarted = true,
  Progressing = true,
  RouteNotSettled = true,
  Starting = true,
  Switching = true,
  Unschedulable = true,
}
-- Of RolloutHealthy: the spec, a step of the plan or a command asked for it.
local asked = { Paused = true, StepPassed = true }

local function health(status, condition)
  return { status = status, message = condition.reason .. ": " .. (condition.message or "") }
end

local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Seawall has not looked at this generation yet" }
end

local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
local ready, spec, healthy = found.Ready, found.SpecAccepted, found.RolloutHealthy
if ready == nil or spec == nil or healthy == nil then
  return { status = "Progressing", message = "Seawall has not told every condition yet" }
end

if spec.status == "False" then
  return health("Degraded", spec)
end
if ready.status ~= "True" then
  if ready.reason == "ScaledToZero" then
    return health("Healthy", ready)
  end
  return health(waiting[ready.reason] and "Progressing" or "Degraded", ready)
end

if healthy.status == "False" then
  local rollout = status.rollout or {}
  local goes_back = rollout.phase == "RollingBack" or rollout.phase == "RolledBack"
  -- A hold ends by itself, or becomes a pause.
  if rollout.hold ~= nil and rollout.pause == nil and not goes_back then
    return health("Progressing", healthy)
  end
  return health("Degraded", healthy)
end
if asked[healthy.reason] then
  return health("Suspended", healthy)
end
if ready.reason == "BuildFailed" then
  return health("Degraded", ready)
end
return health(ready.reason == "Updating" and "Progressing" or "Healthy", ready)
