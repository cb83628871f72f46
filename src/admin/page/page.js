'use strict';
(() => {
  const $ = (id) => document.getElementById(id);
  const words = $('console').dataset;
  const units = words.units.split(',');
  const EVERY = 3000;

  // Asks wxgate for something in JSON. Addresses are made of the origin, since a page that was opened with its key in
  // the address (http://user:KEY@host/) may not fetch what is relative to it; and what fetch throws is not shown, since
  // it may name that address.
  const ask = async (path, options) => {
    let answer, said;
    try {
      answer = await fetch(location.origin + path, { method: 'POST', ...options });
      said = await answer.json();
    } catch {
      throw new Error(words.noAnswer);
    }
    if (!answer.ok) throw new Error(said.message ?? 'HTTP ' + answer.status);
    return said;
  };

  // Times as the viewer's own clock shows them; today's without the day.
  const localTimes = (root) => {
    for (const time of root.querySelectorAll('time')) {
      const at = new Date(time.dateTime);
      const options = { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false };
      const old = Math.abs(Date.now() - at) > 20 * 3600e3;
      time.title = at.toLocaleString(document.documentElement.lang);
      if ('day' in time.dataset) time.textContent = at.toLocaleDateString(document.documentElement.lang);
      else if (old) time.textContent = at.toLocaleString(document.documentElement.lang, { month: 'numeric', day: 'numeric', ...options });
      else time.textContent = at.toLocaleTimeString(document.documentElement.lang, options);
    }
  };

  // Lives run down between two looks; the server's clock counts, not the viewer's.
  let ahead = 0;
  const runDown = () => {
    const now = Date.now() + ahead;
    for (const left of document.querySelectorAll('[data-ends]')) {
      const s = Math.max(0, Math.round((Date.parse(left.dataset.ends) - now) / 1000));
      const parts = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60, s % 60];
      const first = Math.max(0, parts.findIndex((n) => n > 0));
      const from = s === 0 ? 3 : first;
      left.textContent = parts.slice(from, from + 2)
        .map((n, i) => (n > 0 || from === 3 ? n + ' ' + units[from + i] : '')).filter(Boolean).join(' ');
    }
    for (const fill of document.querySelectorAll('[data-until]')) {
      const until = Date.parse(fill.dataset.until), from = Date.parse(fill.dataset.from);
      fill.setAttribute('width', (Math.min(1, Math.max(0, (until - now) / (until - from))) * 100).toFixed(2) + '%');
    }
  };

  // What came of the last refresh by hand of each account: it stays until the next one, or until the account goes.
  const notes = new Map();
  const placeNotes = () => {
    for (const [name, note] of notes) {
      const article = $('account-' + name);
      if (!article) notes.delete(name);
      else if (note.parentNode !== article) article.append(note);
    }
  };

  // Puts a fresh page's parts in place; what has not changed, or is being used, stays.
  const seen = new Map();
  const remember = (root) => {
    for (const part of root.querySelectorAll('[data-live]')) seen.set(part.id, part.outerHTML);
  };
  const apply = (fresh) => {
    const parts = [...fresh.querySelectorAll('[data-live]')];
    const ids = new Set(parts.map((part) => part.id));
    const known = [...document.querySelectorAll('[data-live]')].map((part) => part.id);
    // Accounts that came or went: the whole section is new.
    if (known.length !== ids.size || known.some((id) => !ids.has(id))) {
      const accounts = document.adoptNode(fresh.getElementById('accounts'));
      localTimes(accounts);
      $('accounts').replaceWith(accounts);
      seen.clear();
    }
    for (const part of fresh.querySelectorAll('[data-live]')) {
      const old = $(part.id), html = part.outerHTML;
      if (!old || seen.get(part.id) === html) continue;
      seen.set(part.id, html);
      const open = [...old.querySelectorAll('details[open]')].map((details) => details.id);
      const focused = old.contains(document.activeElement) ? [...old.querySelectorAll('a, button, summary')].indexOf(document.activeElement) : -1;
      const busy = old.querySelector('button:disabled');
      const selected = window.getSelection().type === 'Range' && window.getSelection().containsNode(old, true);
      if (busy || (selected && !('away' in old.dataset))) {
        seen.delete(part.id);
        continue;
      }
      const placed = document.adoptNode(part);
      for (const id of open) placed.querySelector('#' + CSS.escape(id))?.setAttribute('open', '');
      localTimes(placed);
      old.replaceWith(placed);
      if (focused >= 0) [...placed.querySelectorAll('a, button, summary')][focused]?.focus();
    }
    placeNotes();
    choices(fresh.querySelector('#call [name=account]'));
    const asof = fresh.getElementById('asof');
    if (asof) {
      localTimes(asof);
      $('asof').replaceWith(document.adoptNode(asof));
    }
    verdict();
    runDown();
  };
  const verdict = () => {
    const { title, icon } = $('summary').dataset;
    document.title = title;
    document.querySelector('link[rel=icon]').href = icon;
  };

  const pulse = $('pulse');
  let last = document.querySelector('#asof time')?.dateTime;
  // wxgate cannot be reached: nothing that the page showed so far need still be so.
  const lost = () => {
    if (pulse.classList.contains('lost')) return;
    pulse.classList.add('lost');
    pulse.textContent = words.lost + new Date(last).toLocaleTimeString(document.documentElement.lang, { hour12: false });
    const summary = $('summary'), away = $('away');
    summary.dataset.away = '';
    summary.dataset.level = 'bad';
    summary.dataset.title = away.dataset.title;
    summary.dataset.icon = away.dataset.icon;
    summary.querySelector('.verdict').replaceWith(away.content.cloneNode(true));
    // The next fresh page replaces it, even if that one says what was said before.
    seen.delete('summary');
    verdict();
  };
  let asking = false;
  const look = async () => {
    if (asking || document.hidden) return;
    asking = true;
    try {
      const url = location.origin + location.pathname + '?lang=' + (document.documentElement.lang === 'en' ? 'en' : 'zh');
      const answer = await fetch(url, { headers: { accept: 'text/html' }, signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(answer.status);
      const html = await answer.text();
      // Without its head: the styles in there bear another nonce than this page's, which would be a violation.
      const fresh = new DOMParser().parseFromString(html.slice(html.indexOf('<body')), 'text/html');
      last = fresh.querySelector('#asof time').dateTime;
      ahead = Date.parse(last) - Date.now();
      // A second is all that the server's time tells.
      if (Math.abs(ahead) < 2000) ahead = 0;
      if (pulse.classList.contains('lost')) {
        pulse.classList.remove('lost');
        pulse.textContent = words.liveWord;
      }
      apply(fresh);
    } catch {
      lost();
    } finally {
      asking = false;
    }
  };

  // Refreshing: the button's form works without script too, and then shows the bare answer.
  document.addEventListener('submit', async (event) => {
    const button = event.target.querySelector('[data-refresh]');
    if (!button) return;
    event.preventDefault();
    button.disabled = true;
    const name = button.dataset.refresh;
    notes.get(name)?.remove();
    notes.delete(name);
    let told = words.refreshed;
    try {
      await ask(event.target.getAttribute('action'), { headers: { accept: 'application/json' } });
    } catch (error) {
      told = words.failed + error.message;
    }
    button.disabled = false;
    await look();
    const article = $('account-' + name);
    if (article) {
      const note = document.createElement('p');
      note.className = told === words.refreshed ? 'why good' : 'why';
      note.setAttribute('role', 'status');
      notes.set(name, note);
      placeNotes();
      const at = document.createElement('time');
      at.dateTime = new Date().toISOString();
      note.append(at, ' ' + told);
      localTimes(note);
      article.querySelector('[data-refresh]')?.focus();
    }
  });

  // The console.
  const form = $('call');
  const fields = form.elements;
  const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";
  const curl = () => {
    const account = fields.account.selectedOptions[0];
    form.querySelector('.body').hidden = fields.method.value !== 'POST';
    $('curl').textContent = '';
    if (!account) return;
    const query = fields.query.value.trim().replace(/^\?/, '');
    // A listener on every address is reached by the name that this page was reached by.
    const base = account.dataset.base.replace(/\/\/(0\.0\.0\.0|\[::\])(?=:)/, '//' + location.hostname);
    const target = fields.path.value.trim() + (query && '?' + query);
    // Without -g curl makes several calls of a list in brackets or braces.
    const parts = ['curl ' + (/[[\]{}]/.test(target) ? '-g ' : '') + quoted(base + target)];
    if (account.dataset.cert) parts.push('--cert client.pem --key client.key');
    if (account.dataset.host) parts.push('-H ' + quoted('Host: ' + account.dataset.host));
    if (account.dataset.key) parts.push('-H "X-Wxgate-Key: $WXGATE_KEY"');
    if (fields.method.value === 'POST') {
      parts.push("-H 'Content-Type: application/json'", '--data-raw ' + quoted(fields.body.value));
    }
    $('curl').textContent = parts.join(' \\\n  ');
  };
  // The accounts of a fresh page. Where the chosen one is gone, none is: a call must not go out as an account that
  // nobody chose, unless there is one alone.
  const choices = (fresh) => {
    if (!fresh || fresh.innerHTML === fields.account.innerHTML) return;
    const chosen = fields.account.value;
    fields.account.innerHTML = fresh.innerHTML;
    const options = [...fields.account.options];
    const at = options.findIndex((option) => option.value === chosen);
    fields.account.selectedIndex = at < 0 && chosen && options.length > 1 ? -1 : Math.max(at, 0);
    curl();
  };
  form.addEventListener('input', curl);
  $('copy').addEventListener('click', async () => {
    const text = $('curl').textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without a secure context there is no clipboard: the text is selected to be copied by hand.
      window.getSelection().selectAllChildren($('curl'));
      return;
    }
    $('copy').textContent = words.copied;
    setTimeout(() => { $('copy').textContent = words.copy; }, 1500);
  });
  const pretty = (text) => {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  };
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const send = form.querySelector('[type=submit]');
    const state = $('call-state');
    send.disabled = true;
    state.textContent = words.busy;
    const post = fields.method.value === 'POST';
    const call = {
      method: fields.method.value,
      path: fields.path.value.trim(),
      query: fields.query.value.trim().replace(/^\?/, ''),
      headers: post ? { 'Content-Type': 'application/json' } : {},
    };
    if (post) call.body = fields.body.value;
    try {
      const said = await ask('/accounts/' + encodeURIComponent(fields.account.value) + '/call', {
        headers: { 'content-type': 'application/json', 'accept-language': document.documentElement.lang },
        body: JSON.stringify(call),
      });
      $('answer').hidden = false;
      $('answer-head').textContent = ['HTTP ' + said.status, said.errcode == null ? '' : 'errcode ' + said.errcode,
        Math.round(said.ms) + ' ms', said.attempts > 1 ? '× ' + said.attempts : '', said.headers['content-type'] ?? '']
        .filter(Boolean).join(' · ');
      $('answer-explain').textContent = said.explain ?? '';
      $('answer-body').textContent = 'body' in said ? pretty(said.body) : '(base64) ' + said.body_base64;
      state.textContent = '';
    } catch (error) {
      state.textContent = words.failed + error.message;
    }
    send.disabled = false;
    look();
  });

  remember(document);
  localTimes(document);
  curl();
  runDown();
  setInterval(runDown, 1000);
  setInterval(look, EVERY);
  document.addEventListener('visibilitychange', look);
  pulse.textContent = words.liveWord;
})();
