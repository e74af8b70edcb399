-- The health of CloudPools, VirtualWorkloads and Guests for Argo CD. A guest that is off or asleep because somebody asked
-- for that is Ready, and so Healthy.
local health = { status = "Progressing", message = "the operator has not looked at it yet" }
if obj.metadata.deletionTimestamp ~= nil then
  health.message = "it is being deleted"
end
if obj.status == nil or obj.status.conditions == nil then
  return health
end

local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local function is_true(kind)
  return found[kind] ~= nil and found[kind].status == "True"
end

if obj.status.observedGeneration ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "the operator has not looked at the latest change yet"
  return health
end
if found.Ready ~= nil and found.Ready.message ~= nil then
  health.message = found.Ready.message
end
if is_true("Stalled") then
  health.status = "Degraded"
elseif obj.metadata.deletionTimestamp == nil and is_true("Ready") and not is_true("Reconciling") then
  health.status = "Healthy"
end
if is_true("OrphansFound") then
  health.message = health.message .. "; " .. found.OrphansFound.message
end
return health
