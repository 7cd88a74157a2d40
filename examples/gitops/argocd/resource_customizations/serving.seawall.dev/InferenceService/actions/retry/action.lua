local os = require("os")
local annotations = obj.metadata.annotations or {}
-- The word is for this rollout alone; the seconds tell it from the same word said before.
annotations["serving.seawall.dev/rollout-command"] = "retry@" .. obj.status.rollout.id .. ":" .. os.time()
obj.metadata.annotations = annotations
return obj
