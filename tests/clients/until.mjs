// Waiting for what comes a little later, such as a global index.
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'

const WAIT = 60_000

export async function until (check, complaint = 'the index did not catch up') {
  const deadline = Date.now() + WAIT
  while (!await check()) {
    assert(Date.now() < deadline, complaint)
    await sleep(100)
  }
}
