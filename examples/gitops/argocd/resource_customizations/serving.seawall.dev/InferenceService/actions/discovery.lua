-- The words that Seawall would act on now; a word that comes too late is refused with an Event, whoever says it.
local rollout = (obj.status or {}).rollout or {}
local stable, candidate, step = rollout.stableRevision, rollout.candidateRevision, rollout.step
local rejected = (rollout.lastRejected or {}).revision
local paused = rollout.pause ~= nil

local on_its_way = candidate ~= nil and candidate ~= rejected
local answered = on_its_way and step ~= nil
local before_the_end = answered and (paused or step < (rollout.steps or 0))

local can = {
  ["promote"] = answered and paused,
  ["promote-full"] = before_the_end,
  ["skip"] = before_the_end,
  ["pause"] = on_its_way and not paused,
  ["resume"] = on_its_way and paused,
  ["abort"] = stable ~= nil and (on_its_way or (candidate == nil and rollout.previousRevision ~= nil and stable ~= rejected)),
  ["retry"] = rejected ~= nil and rejected ~= stable and not (candidate ~= nil and stable ~= nil),
}

local actions = {}
for verb, allowed in pairs(can) do
  actions[verb] = { ["disabled"] = rollout.id == nil or not allowed }
end
return actions
