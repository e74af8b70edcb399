"""What Amazon EC2 does and moto leaves out, as far as an operator meets it.

moto answers with EC2's shapes, but it starts a second instance for a repeated client token, knows no state between
`running` and `stopped`, and never runs out of capacity. The modules here mend that:

- `lifecycle`: states that take time, and the transitions EC2 refuses
- `launch`: client tokens, counts, root volumes, subnets of RunInstances
- `spot`: spot requests, and the warning before one is taken back
- `volumes`: tokens, states, zones and cool-down of volumes
- `pricing`: the price list service
- `tokens`: which client token was used for what
- `visibility`: instances that Describe does not know yet, or no more; filters
- `faults`: errors on demand
- `crowd`: many guests from one launch
- `remember`: answers of DescribeInstances, while nothing changes
- `journal`: what was asked and what happened, for a test to compare with
- `sigv4`: whether a request was signed with the right key
- `front`: the WSGI application before moto that ties them together, and its admin routes
- `serve`: the process: sockets, state file, end
"""
