'use strict';
// Shows what /v1 says and keeps it fresh by server-sent events. Every value is set as text, never as markup:
// what stands here was scanned from barcodes that anybody can print.
const ROWS_MAX = 200; // newest movements kept on the page; older ones are a query away
const $ = id => document.getElementById(id);
let secret = '';

async function get(path) {
  const headers = secret ? { authorization: 'Bearer ' + secret } : {};
  const answer = await fetch(path, { headers });
  if (answer.status === 401) { $('key-wanted').hidden = false; throw new Error('an API key is needed'); }
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || answer.statusText);
  return body;
}

function row(cells) {
  const tr = document.createElement('tr');
  for (const cell of cells) {
    const td = document.createElement('td');
    const { text, kind } = typeof cell === 'object' && cell ? cell : { text: cell };
    td.textContent = text ?? '';
    if (kind === 'empty') td.colSpan = 20;
    if (kind) td.className = kind;
    tr.append(td);
  }
  return tr;
}

const clock = text => text ? new Date(text).toLocaleTimeString() : '';
const number = text => ({ text, kind: 'number' });

function movementRow(m) {
  const tr = row([clock(m.occurred_at), m.site, m.kind === 'count' ? 'count' : m.step, m.item,
    number(m.quantity + (m.uom === 'H87' ? '' : ' ' + m.uom)), m.from, m.to, m.station]);
  tr.title = 'Trace ' + m.movement;
  tr.tabIndex = 0;
  tr.addEventListener('click', () => trace(m.movement));
  tr.addEventListener('keydown', event => { if (event.key === 'Enter') trace(m.movement); });
  return tr;
}

function dropEmpty(body) {
  if (body.querySelector('td.empty')) body.replaceChildren();
}

function addMovement(m) {
  const body = $('movements');
  dropEmpty(body);
  const tr = movementRow(m);
  tr.className = 'new';
  body.prepend(tr);
  while (body.children.length > ROWS_MAX) body.lastChild.remove();
}

const why = o => o.fault || o.terms.filter(t => Number(t.quantity) !== 0)
  .map(t => t.name.replaceAll('_', ' ') + (t.site ? ' ' + t.site : '') + ' ' + t.quantity).join(', ');

function offerRow(o) {
  const shown = o.published ? o.published.number : '–';
  const agrees = o.published && o.published.number === o.number;
  const tr = row([o.channel, o.sku, number(o.number),
    { text: o.unresolved ? '?' : shown, kind: 'number ' + (o.fault ? 'bad' : agrees ? 'good' : 'warn') },
    { text: why(o), kind: 'wide' }]);
  tr.dataset.key = o.channel + ' ' + o.sku;
  return tr;
}

function deviceRow(d) {
  const state = d.frozen ? 'frozen' : d.status;
  const tr = row([d.site, d.agent, { text: state, kind: state === 'online' ? 'good' : state === 'stopped' ? 'warn' : 'bad' },
    number(d.watermark), number(d.backlog), clock(d.last_seen_at),
    d.clock_synced === null ? '' : d.clock_synced ? 'synchronised' : { text: 'not synchronised', kind: 'warn' }, d.software]);
  tr.dataset.key = d.site + ' ' + d.agent;
  return tr;
}

function replace(body, tr) {
  tr.className = 'new';
  dropEmpty($(body));
  for (const old of $(body).children) if (old.dataset.key === tr.dataset.key) return old.replaceWith(tr);
  $(body).append(tr);
}

function fill(body, rows, make, nothing) {
  $(body).replaceChildren(...(rows.length ? rows.map(make) : [row([{ text: nothing, kind: 'empty' }])]));
}

async function metrics() {
  const headers = secret ? { authorization: 'Bearer ' + secret } : {};
  const text = await (await fetch('/metrics', { headers })).text();
  const sum = name => text.split('\n').filter(l => l.startsWith(name + '{') || l.startsWith(name + ' '))
    .reduce((total, l) => total + Number(l.split(' ').pop()), 0);
  const tiles = [
    ['Rows in the books', sum('stockwire_ledger_rows'), ''],
    ['Not yet at the ERP', sum('stockwire_erp_unposted_rows'), ''],
    ['Not yet at a channel', sum('stockwire_channel_unpublished_skus'), ''],
    ['Waiting at the edge', sum('stockwire_agents_backlog_events'), ''],
    ['Balances below zero', sum('stockwire_balances_negative'), 'warn'],
    ['Set aside', sum('stockwire_dead_letters_open'), 'bad'],
  ];
  $('tiles').replaceChildren(...tiles.map(([name, value, kind]) => {
    const tile = document.createElement('div');
    tile.className = 'tile';
    const b = document.createElement('b'), span = document.createElement('span');
    b.textContent = value.toLocaleString();
    if (value && kind) b.className = kind;
    span.textContent = name;
    tile.append(b, span);
    return tile;
  }));
}

async function letters() {
  const { rows } = await get('/v1/dead-letters?state=open&limit=50');
  fill('letters', rows, l => row([number(l.id), l.class, { text: l.reason, kind: 'wide' }, l.source, number(l.times),
    clock(l.last_at)]), 'Nothing is set aside.');
}

async function tasks() {
  const { rows } = await get('/v1/tasks?state=open&limit=50');
  fill('tasks', rows, t => {
    const open = t.lines.filter(l => Number(l.open) > 0);
    return row([t.site, t.kind, t.id, t.location ?? '', number(open.length),
      { text: open.map(l => l.open + ' ' + l.item).join(', '), kind: 'wide' }, clock(t.changed_at)]);
  }, 'Nothing is to be done.');
}

// Minor units have as many digits as the currency says.
function money(minor, currency) {
  const format = new Intl.NumberFormat(undefined, { style: 'currency', currency });
  return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
}

async function orders() {
  const { rows } = await get('/v1/orders?limit=50');
  fill('orders', rows, o => {
    const bad = ['faulted', 'held', 'checking', 'backordered', 'cancelling'].includes(o.stage);
    const tr = row([clock(o.placed_at), o.channel, o.code,
      { text: o.stage.replaceAll('_', ' '), kind: o.attention ? 'bad' : bad ? 'warn' : 'good' },
      number(money(o.gross, o.currency)), { text: o.attention ?? '', kind: 'wide' }, clock(o.changed_at)]);
    const show = () => history(o);
    tr.title = 'Everything that happened to ' + o.code;
    tr.tabIndex = 0;
    tr.addEventListener('click', show);
    tr.addEventListener('keydown', event => { if (event.key === 'Enter') show(); });
    return tr;
  }, 'No order yet.');
}

async function history(o) {
  $('trace').hidden = false;
  $('trace-key').textContent = 'order ' + o.code;
  try {
    const { timeline } = await get('/v1/orders/' + encodeURIComponent(o.channel) + '/' + encodeURIComponent(o.order));
    fill('trace-rows', timeline, f => row([new Date(f.at).toLocaleString(), f.by, { text: f.text, kind: 'wide' }]), 'Nothing.');
  } catch (fault) {
    fill('trace-rows', [], null, fault.message);
  }
}

async function codes() {
  const { rows } = await get('/v1/codes?limit=50');
  fill('codes', rows, c => row([c.site, { text: c.code, kind: 'wide' }, c.gtin ?? '', c.sought, number(c.events), clock(c.last_at)]),
    'Every code is known.');
}

async function trace(key) {
  $('trace').hidden = false;
  $('trace-key').textContent = key;
  try {
    const { timeline } = await get('/v1/traces/' + encodeURIComponent(key));
    fill('trace-rows', timeline, s => row([s.at ? new Date(s.at).toLocaleString() : '', s.stage, { text: s.text, kind: 'wide' }]), 'Nothing.');
  } catch (fault) {
    fill('trace-rows', [], null, fault.message);
  }
}

// EventSource cannot send a key, so the stream is read by hand.
async function live() {
  const headers = secret ? { authorization: 'Bearer ' + secret } : {};
  const answer = await fetch('/v1/changes', { headers });
  if (!answer.ok) throw new Error(answer.statusText);
  $('live').textContent = 'live';
  $('live').className = 'state good';
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split('\n\n');
    rest = parts.pop();
    for (const part of parts) {
      const field = name => part.split('\n').filter(l => l.startsWith(name + ':')).map(l => l.slice(name.length + 1).trim()).join('');
      if (!field('data')) continue;
      const data = JSON.parse(field('data'));
      if (field('event') === 'movement') addMovement(data);
      if (field('event') === 'offer') replace('offers', offerRow(data));
      if (field('event') === 'device') replace('devices', deviceRow(data));
    }
  }
}

async function start() {
  for (;;) {
    try {
      const [movements, offers, devices] = await Promise.all([
        get('/v1/movements?limit=100'), get('/v1/availability?limit=500'), get('/v1/devices')]);
      $('key-wanted').hidden = true;
      fill('movements', movements.rows, movementRow, 'No movement yet.');
      fill('offers', offers.rows, offerRow, 'No channel yet.');
      fill('devices', devices.rows, deviceRow, 'No edge box has spoken yet.');
      await Promise.all([metrics(), letters(), tasks(), codes(), orders()]);
      await live();
      $('live').textContent = 'connection ended';
    } catch (fault) {
      $('live').textContent = fault.message;
    }
    $('live').className = 'state bad';
    await new Promise(done => setTimeout(done, 2000));
  }
}

$('search').addEventListener('submit', event => { event.preventDefault(); if ($('key').value) trace($('key').value.trim()); });
$('trace-close').addEventListener('click', () => { $('trace').hidden = true; });
$('login').addEventListener('submit', event => { event.preventDefault(); secret = $('secret').value.trim(); });
setInterval(() => { for (const look of [metrics, letters, tasks, codes, orders]) look().catch(() => {}); }, 3000);
start();
