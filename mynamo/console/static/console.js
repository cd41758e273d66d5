// Refreshes parts of a page, and draws how figures went. Every page works without it.
'use strict'

const KEPT_MS = 120_000
const SPEAK_MS = 15_000
const WIDTH = 160
const HEIGHT = 24
const OLD = 'What is shown is of before.'
const FOCUSABLE = 'a, button, [tabindex]'
const SVG = 'http://www.w3.org/2000/svg'
const history = new Map()
const spoken = new Map()
const warnings = new Map()

document.documentElement.classList.add('script')
for (const region of document.querySelectorAll('[data-refresh]')) {
  draw(region)
  if (!isOver(region)) wait(region)
}

function wait (region) {
  setTimeout(() => refresh(region), 1000 * Number(region.dataset.every))
}

async function refresh (region) {
  if (!document.hidden) {
    try {
      const answer = await fetch(region.dataset.refresh, { headers: { 'X-Mynamo-Part': '1' } })
      if (answer.status === 401) return warn(region, 'You are signed out: load the page again to sign in.')
      if (answer.ok) replace(region, await answer.text())
      warn(region, answer.ok ? '' : `The console answers with an error (${answer.status}). ${OLD}`)
    } catch {
      warn(region, `The console does not answer. ${OLD}`)
    }
  }
  if (!isOver(region)) wait(region)
}

// A part of a job is over when the job is: nothing of it will change.
function isOver (region) {
  return region.dataset.until === 'ended' && region.querySelector('[data-ended]') !== null
}

function replace (region, html) {
  if (region.dataset.shown === html) return draw(region)
  const focused = region.contains(document.activeElement) ? place(region, document.activeElement) : null
  const scrolled = [...region.querySelectorAll('.scroll')].map((each) => each.scrollLeft)
  region.innerHTML = html // made by the console, which escapes every value
  region.dataset.shown = html
  region.querySelectorAll('.scroll').forEach((each, n) => { each.scrollLeft = scrolled[n] ?? 0 })
  if (focused) region.querySelectorAll(FOCUSABLE)[focused.number]?.focus({ preventScroll: true })
  draw(region)
}

function place (region, element) {
  const number = [...region.querySelectorAll(FOCUSABLE)].indexOf(element)
  return number < 0 ? null : { number }
}

function draw (region) {
  const now = Date.now()
  for (const cell of region.querySelectorAll('[data-spark]')) {
    const { spark, unit } = cell.dataset
    const value = Number(cell.dataset.value)
    const points = (history.get(spark) ?? []).filter(([at]) => at > now - KEPT_MS)
    points.push([now, value])
    history.set(spark, points)
    cell.replaceChildren(line(points, now, unit))
  }
  say(region)
}

function line (points, now, unit) {
  const highest = Math.max(...points.map(([, value]) => value))
  const top = Math.max(highest, 1)
  const x = (at) => (WIDTH * (1 - (now - at) / KEPT_MS)).toFixed(1)
  const y = (value) => (HEIGHT - 2 - (HEIGHT - 4) * value / top).toFixed(1)
  const svg = document.createElementNS(SVG, 'svg')
  const last = points[points.length - 1][1]
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`)
  svg.setAttribute('width', WIDTH)
  svg.setAttribute('height', HEIGHT)
  svg.setAttribute('role', 'img')
  svg.setAttribute('aria-label', `now ${last} ${unit}, at most ${highest} in the last 2 minutes`)
  const path = document.createElementNS(SVG, 'polyline')
  path.setAttribute('points', points.map(([at, value]) => `${x(at)},${y(value)}`).join(' '))
  const dot = document.createElementNS(SVG, 'circle')
  dot.setAttribute('cx', WIDTH - 2)
  dot.setAttribute('cy', y(last))
  dot.setAttribute('r', 2)
  svg.append(path, dot)
  return svg
}

// Say above a region why it is not renewed; nothing: it is.
function warn (region, text) {
  const before = warnings.get(region)
  if ((before?.textContent ?? '') === text) return
  before?.remove()
  warnings.delete(region)
  if (text === '') return
  const warning = document.createElement('p')
  warning.className = 'trouble'
  warning.setAttribute('role', 'alert')
  warning.textContent = text
  region.before(warning)
  warnings.set(region, warning)
}

// For screen readers: rarely, and only what is new; the end of a job at once.
function say (region) {
  const status = document.getElementById(region.dataset.status)
  const text = region.querySelector('[data-say]')?.dataset.say
  const before = spoken.get(status)
  if (!status || !text || before?.text === text) return
  if (Date.now() - (before?.at ?? 0) < SPEAK_MS && !isOver(region)) return
  spoken.set(status, { text, at: Date.now() })
  status.textContent = text
}
