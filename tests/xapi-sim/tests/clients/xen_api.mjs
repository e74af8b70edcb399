// Drives the simulator with npm's xen-api as its users do: connect, watch, start, tasks, disk data.
// Usage: node xen_api.mjs CLIENTS-FOLDER URL USER PASSWORD

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'

const [clients, url, user, password] = process.argv.slice(2)
const require = createRequire(`${clients}/package.json`)
const { createClient } = await import(pathToFileURL(require.resolve('xen-api')))

const xapi = createClient({
  allowUnauthorized: true,
  auth: { user, password },
  url,
})
xapi.on('eventFetchingError', error => console.error('events:', error))

const seen = (what, holds) =>
  new Promise((resolve, reject) => {
    const deadline = setTimeout(() => reject(new Error(`never seen: ${what}`)), 20e3)
    const look = () => {
      const found = Object.values(xapi.objects.all).find(holds)
      if (found !== undefined) {
        clearTimeout(deadline)
        clearInterval(timer)
        resolve(found)
      }
    }
    const timer = setInterval(look, 20)
    look()
  })

await xapi.connect()
await xapi.objectsFetched
console.log('objects:', Object.keys(xapi.objects.all).length)

const template = await seen('the template', o => o.$type === 'VM' && o.name_label === 'debian-12')
const clone = await xapi.callAsync('VM.clone', template.$ref, 'made by xen-api')
await xapi.callAsync('VM.provision', clone)
await xapi.callAsync('VM.start', clone, false, false)
await xapi.barrier(clone)
const vm = await seen('the running VM', o => o.$ref === clone && o.power_state === 'Running')
const metrics = await seen('its address', o => o.$ref === vm.guest_metrics && o.networks['0/ip'] !== undefined)
console.log('address:', metrics.networks['0/ip'])

await vm.update_other_config('innkeeper', 'yes')
assert.equal(await xapi.getField('VM', clone, 'other_config').then(c => c.innkeeper), 'yes')
await assert.rejects(xapi.call('VM.start', clone, false, false), { code: 'VM_BAD_POWER_STATE' })

const sr = await seen('the repository', o => o.$type === 'SR' && o.name_label === 'Shared storage')
const size = 3 * 1024 * 1024
const vdi = await xapi.call('VDI.create', {
  name_label: 'data', SR: sr.$ref, virtual_size: size, type: 'user', sharable: false, read_only: false, other_config: {},
})
const data = Buffer.alloc(size, 'innkeeper ')
const stream = Readable.from([data.subarray(0, 1e6), data.subarray(1e6)])
stream.length = size
await xapi.putResource(stream, '/import_raw_vdi/', { query: { vdi, format: 'raw' }, task: true })
const exported = await xapi.getResource('/export_raw_vdi/', {
  query: { vdi, format: 'raw' },
  task: true,
})
assert.ok(data.equals(await buffer(exported.body ?? exported)), 'what came back is not what was sent')

await xapi.callAsync('VM.hard_shutdown', clone)
await xapi.callAsync('VM.destroy', clone)
await xapi.barrier()
assert.equal(Object.values(xapi.objects.all).find(o => o.$ref === clone), undefined, 'the VM is still in the cache')
await xapi.disconnect()
console.log('done')
process.exit(0)
