'use strict';

(() => {
  const PALETTES = {
    'White-hot': ['#000000', '#ffffff'],
    'Black-hot': ['#ffffff', '#000000'],
    Ironbow: ['#03010f', '#2a0a6b', '#7a128f', '#bf2672', '#e8593a', '#f99b1c', '#fdd451', '#fffbe8'],
    Rainbow: ['#1a1360', '#2350d8', '#18a5cc', '#2fb45c', '#cdd530', '#f4981f', '#dc2d20', '#ffe3e6'],
    Arctic: ['#080b2c', '#173f9e', '#2590d4', '#8cc9d6', '#a8905a', '#e0a224', '#ffd963', '#fff8de'],
  };
  const DIVERGING = ['#0f3f94', '#5f98da', '#ffffff', '#e57a62', '#9c1420'];
  const WINDOW = [0.005, 0.995]; // shares of the pixels before that the default window leaves out below and above
  const UNCHANGED = 0.999; // share of the pixels that the default scale of the change does not cut
  const ZOOM_STEP = Math.SQRT2;
  const MOST_ZOOM = 64; // screen pixels for one of the picture
  const NEAR = 16; // CSS pixels from the divider at which a pointer takes hold of it
  const STILL = 4; // CSS pixels that a click may move
  const MINUS = '\u2212';

  const $ = (id) => document.getElementById(id);
  const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
  const manifest = JSON.parse($('manifest').textContent);
  const entries = [...document.querySelectorAll('.entry')];
  const marks = [...document.querySelectorAll('.mark')];
  const stage = $('stage');
  const view = $('view');

  const state = {
    index: -1,
    order: entries.map((_, index) => index), // the pictures that the filter lets through, as listed
    mode: 'divider',
    alone: null, // 'before' or 'after' while it is held
    divider: 0.5, // share of the visible picture
    fit: true,
    zoom: 1, // screen pixels for one of the picture
    centre: { x: 0, y: 0 }, // the place of the picture in the middle of every pane
    palette: 'White-hot',
    low: 0, // codes shown as the two ends of the palette
    high: 1,
    limit: 1, // difference of codes shown as the ends of the diverging palette
    cursor: { x: 0, y: 0 },
    pinned: false,
    drawn: -1,
  };
  let picture = null; // the one shown, unpacked; null where that failed
  let placed = -1; // its index

  // ---- Pictures: reading, unpacking, keeping the neighbours

  const waiting = new Map();

  async function readWithin(index) {
    // Hundreds of pictures take seconds to parse; the first is shown meanwhile.
    while (document.readyState === 'loading' && !$(`data-${index}`)?.nextElementSibling) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return JSON.parse($(`data-${index}`).textContent);
  }

  function readBeside(index) {
    // A page opened from a disk may neither fetch nor read pixels of other files: it may run them.
    return new Promise((resolve, reject) => {
      const script = document.createElement('script');
      script.src = manifest.files[index];
      script.onload = () => {
        script.remove();
        if (waiting.delete(index)) {
          reject(new Error(`${decodeURIComponent(manifest.files[index])} is damaged`));
        }
      };
      script.onerror = () => {
        script.remove();
        reject(new Error(`${decodeURIComponent(manifest.files[index])} is not beside this page`));
      };
      waiting.set(index, resolve);
      document.head.append(script);
    });
  }

  function receive(index, data) {
    waiting.get(index)?.(data);
    waiting.delete(index);
  }

  async function unpackStream(text) {
    const characters = atob(text);
    const packed = new Uint8Array(characters.length);
    for (let i = 0; i < packed.length; i++) packed[i] = characters.charCodeAt(i);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function unpackCodes(streams, width, height) {
    const [low, high] = await Promise.all(streams.map(unpackStream));
    const codes = new (high ? Uint16Array : Uint8Array)(width * height);
    for (let y = 0, i = 0; y < height; y++) {
      let left = 0;
      let corner = 0;
      for (let x = 0; x < width; x++, i++) {
        const up = y ? codes[i - width] : 0;
        const folded = high ? (high[i] << 8) | low[i] : low[i];
        const expected = clamp(left + up - corner, Math.min(left, up), Math.max(left, up));
        codes[i] = expected + ((folded >>> 1) ^ -(folded & 1));
        left = codes[i];
        corner = up;
      }
    }
    return codes;
  }

  async function unpack(data) {
    const { width, height } = data;
    const before = await unpackCodes(data.before, width, height);
    const after = await unpackCodes(data.after, width, height);
    const top = Math.max(data.top, 1);
    const counts = { before: countCodes(before, data, top), after: countCodes(after, data, top) };
    const changes = countChanges(before, after, data.missing, top);
    const decimals = data.exact ? 0 : clamp(Math.ceil(-Math.log10(data.step)), 0, 9);
    return { ...data, before, after, top, counts, changes, decimals };
  }

  function countCodes(codes, { missing }, top) {
    const counts = new Uint32Array(top + 1);
    for (const code of codes) if (code !== missing) counts[code]++;
    return counts;
  }

  function countChanges(before, after, missing, top) {
    const counts = new Uint32Array(top + 1);
    for (let i = 0; i < before.length; i++) {
      if (before[i] !== missing && after[i] !== missing) counts[Math.abs(after[i] - before[i])]++;
    }
    return counts;
  }

  const unpacked = new Map(); // promises, by index

  function load(index) {
    if (!unpacked.has(index)) {
      const read = manifest.files ? readBeside : readWithin;
      const promise = read(index).then(unpack);
      promise.catch(() => unpacked.delete(index));
      unpacked.set(index, promise);
    }
    return unpacked.get(index);
  }

  function keepNeighbours() {
    const near = [state.index, step(1), step(-1)];
    for (const index of unpacked.keys()) if (!near.includes(index)) unpacked.delete(index);
    setTimeout(() => {
      // A neighbour that cannot be read says so when it is shown.
      if (near[0] === state.index) near.forEach((index) => load(index).catch(() => {}));
    }, 60);
  }

  function step(by) {
    const { order, index } = state;
    const place = order.indexOf(index);
    if (!order.length || (place < 0 && by < 0)) return index;
    return order[clamp(place + by, 0, order.length - 1)];
  }

  async function show(index, focus = false) {
    if (index === state.index) return;
    state.index = index;
    state.alone = null;
    tellChoice(focus);
    const slow = setTimeout(() => { $('loading').hidden = false; }, 150);
    let next = null;
    try {
      next = await load(index);
      if (state.index === index) $('problem').hidden = true;
    } catch (error) {
      if (state.index === index) complain(`This picture cannot be shown: ${error.message}.`);
    }
    clearTimeout(slow);
    if (state.index !== index) return;
    $('loading').hidden = true;
    place(next);
    keepNeighbours();
  }

  function complain(text) {
    $('problem').textContent = text;
    $('problem').hidden = false;
  }

  function place(next) {
    const same = picture && next && picture.width === next.width && picture.height === next.height;
    const alike = picture && next && picture.unit === next.unit;
    const kept = $('keep').checked && alike ? [valueOf(state.low), valueOf(state.high)] : null;
    picture = next;
    placed = state.index;
    painted.clear();
    document.querySelector('.numbers').inert = !picture;
    if (!picture) return invalidate('view');
    stage.style.setProperty('--aspect', clamp(picture.width / picture.height, 0.6, 2.4));
    if (!same) {
      state.fit = true;
      state.pinned = false;
      state.cursor = { x: picture.width >> 1, y: picture.height >> 1 };
    }
    $('x').max = picture.width - 1;
    $('y').max = picture.height - 1;
    if (kept) setWindow(codeOf(kept[0]), codeOf(kept[1]));
    else setAutomaticWindow();
    setAutomaticLimit();
    setCursor(state.cursor, state.pinned);
    tellExactness();
  }

  // ---- Numbers: codes, values, temperatures, texts

  const valueOf = (code) => picture.least + picture.step * code;
  const codeOf = (value) => Math.round((value - picture.least) / picture.step);

  function codeAt(which, { x, y }) {
    const code = picture[which][y * picture.width + x];
    return code === picture.missing ? null : code;
  }

  function celsiusOf(code) {
    const knots = picture.celsius;
    if (!knots) return null;
    const at = (code / picture.top) * (knots.length - 1);
    const [first, second] = [knots[Math.floor(at)], knots[Math.ceil(at)]];
    return first === null || second === null ? null : first + (second - first) * (at % 1);
  }

  function textOf(number, decimals, signed = false) {
    const text = number.toFixed(decimals);
    const zero = Number(text) === 0;
    const sign = zero ? '' : number < 0 ? MINUS : signed ? '+' : '';
    return sign + text.replace('-', '');
  }

  const valueText = (code) => (code === null ? 'not measured' : textOf(valueOf(code), picture.decimals));

  function celsiusText(code) {
    if (!picture.celsius || code === null) return '';
    const degrees = celsiusOf(code);
    return degrees === null ? 'no temperature' : `${textOf(degrees, 2)} °C`;
  }

  const differenceText = (codes) => textOf(picture.step * codes, picture.decimals, true);

  function kelvinText(before, after) {
    const [from, to] = [celsiusOf(before), celsiusOf(after)];
    return from === null || to === null ? '' : `${textOf(to - from, 2, true)} K`;
  }

  function percentile(counts, share) {
    const wanted = share * counts.reduce((sum, count) => sum + count, 0);
    let seen = 0;
    for (let code = 0; code < counts.length; code++) {
      seen += counts[code];
      if (seen > 0 && seen >= wanted) return code;
    }
    return counts.length - 1;
  }

  // ---- Painting: codes become colours, once for each setting

  const sources = Object.fromEntries(
    ['before', 'after', 'change'].map((which) => [which, document.createElement('canvas')]),
  );
  const painted = new Map(); // what each source was painted with

  function coloursOf(points) {
    const channels = points.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    return Uint32Array.from({ length: 256 }, (_, i) => {
      const at = (i / 255) * (points.length - 1);
      const [from, to] = [channels[Math.floor(at)], channels[Math.ceil(at)]];
      const [r, g, b] = from.map((value, c) => Math.round(value + (to[c] - value) * (at % 1)));
      return (255 << 24) | (b << 16) | (g << 8) | r;
    });
  }

  const palettes = Object.fromEntries(
    Object.entries(PALETTES).map(([name, points]) => [name, coloursOf(points)]),
  );
  const diverging = coloursOf(DIVERGING);

  function tableOf() {
    const { low, high } = state;
    const colours = palettes[state.palette];
    const table = new Uint32Array(0x10000); // a code that stands for nothing measured stays clear
    for (let code = 0; code <= picture.top; code++) {
      if (code !== picture.missing) {
        table[code] = colours[Math.round(255 * clamp((code - low) / (high - low), 0, 1))];
      }
    }
    return table;
  }

  function paintState(pixels, codes) {
    const table = tableOf();
    for (let i = 0; i < pixels.length; i++) pixels[i] = table[codes[i]];
  }

  function paintChange(pixels) {
    const { before, after, missing } = picture;
    const scale = 127.5 / state.limit;
    for (let i = 0; i < pixels.length; i++) {
      if (before[i] === missing || after[i] === missing) continue;
      pixels[i] = diverging[clamp(Math.round(127.5 + scale * (after[i] - before[i])), 0, 255)];
    }
  }

  function source(which) {
    const canvas = sources[which];
    const key = which === 'change' ? state.limit : `${state.palette} ${state.low} ${state.high}`;
    if (painted.get(which) !== key) {
      canvas.width = picture.width;
      canvas.height = picture.height;
      const image = new ImageData(picture.width, picture.height);
      const pixels = new Uint32Array(image.data.buffer);
      if (which === 'change') paintChange(pixels);
      else paintState(pixels, picture[which]);
      canvas.getContext('2d').putImageData(image, 0, 0);
      painted.set(which, key);
    }
    return canvas;
  }

  // ---- The stage: panes, zoom and position, all in screen pixels

  const ratio = () => view.width / (view.clientWidth || 1);

  function panes() {
    if (state.mode !== 'side') return [{ left: 0, width: view.width, which: state.mode }];
    const gap = Math.round(2 * ratio());
    const width = Math.floor((view.width - gap) / 2);
    return [
      { left: 0, width, which: 'before' },
      { left: view.width - width, width, which: 'after' },
    ];
  }

  const fitZoom = () => Math.min(panes()[0].width / picture.width, view.height / picture.height);

  function origin(pane) {
    return {
      x: Math.round(pane.left + pane.width / 2 - state.centre.x * state.zoom),
      y: Math.round(view.height / 2 - state.centre.y * state.zoom),
    };
  }

  function keepInside() {
    const fit = fitZoom();
    state.zoom = state.fit ? fit : clamp(state.zoom, Math.min(fit, 1), MOST_ZOOM);
    const inside = (centre, size, shown) =>
      shown >= size ? size / 2 : clamp(centre, shown / 2, size - shown / 2);
    state.centre = {
      x: inside(state.centre.x, picture.width, panes()[0].width / state.zoom),
      y: inside(state.centre.y, picture.height, view.height / state.zoom),
    };
    const zoomed = Math.min(fit, state.zoom) < state.zoom;
    stage.toggleAttribute('data-zoomed', zoomed);
  }

  function visible(pane) {
    const { x } = origin(pane);
    const left = Math.max(pane.left, x);
    return { left, right: Math.min(pane.left + pane.width, x + picture.width * state.zoom) };
  }

  function dividerAt() {
    const { left, right } = visible(panes()[0]);
    return Math.round(left + (right - left) * state.divider);
  }

  function drawPart(context, which, pane, left, right) {
    const { x, y } = origin(pane);
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, view.height);
    context.clip();
    context.imageSmoothingEnabled = state.zoom < 1;
    context.imageSmoothingQuality = 'high';
    const { zoom } = state;
    context.drawImage(source(which), x, y, picture.width * zoom, picture.height * zoom);
    context.restore();
  }

  function drawView() {
    const context = view.getContext('2d');
    context.clearRect(0, 0, view.width, view.height);
    if (!view.width) return;
    state.drawn = placed;
    if (!picture) return;
    keepInside();
    for (const pane of panes()) {
      const [left, right] = [pane.left, pane.left + pane.width];
      if (state.alone || pane.which !== 'divider') {
        drawPart(context, state.alone ?? pane.which, pane, left, right);
      } else {
        drawPart(context, 'before', pane, left, dividerAt());
        drawPart(context, 'after', pane, dividerAt(), right);
      }
    }
    tellView();
  }

  function tellView() {
    const scale = ratio();
    const divided = state.mode === 'divider' && !state.alone;
    const { left, right } = visible(panes()[0]);
    $('grip').hidden = !divided;
    $('grip').style.left = `${dividerAt() / scale}px`;
    $('track').style.visibility = state.mode === 'divider' ? 'visible' : 'hidden';
    $('track').style.setProperty('--before-edge', `${left / scale}px`);
    $('track').style.setProperty('--after-edge', `${(view.width - right) / scale}px`);
    const words = { change: ['change', 'after ' + MINUS + ' before', ''] };
    const [side, first, second] = words[state.alone ?? state.mode] ?? ['', 'before', 'after'];
    tag($('tag-left'), state.alone ?? first, side);
    tag($('tag-right'), state.alone ? '' : second, side);
    $('zoom').value = `${Math.round(100 * state.zoom)} %`;
    placeMarks();
  }

  function tag(element, text, side) {
    element.textContent = text;
    element.dataset.side = side || text;
  }

  let hovered = null; // the pane that the pointer is in

  function placeMarks() {
    const scale = ratio();
    const shown = picture ? panes() : [];
    marks.forEach((mark, i) => {
      const pane = shown[i];
      mark.hidden = !pane || !(state.pinned || (shown.length > 1 && hovered !== null && hovered !== i));
      if (mark.hidden) return;
      const { x, y } = origin(pane);
      const at = x + (state.cursor.x + 0.5) * state.zoom;
      mark.hidden = at < pane.left || at > pane.left + pane.width;
      mark.style.left = `${at / scale}px`;
      mark.style.top = `${(y + (state.cursor.y + 0.5) * state.zoom) / scale}px`;
    });
  }

  const paneAt = (at) => (panes()[1]?.left <= at.x ? 1 : 0);

  function toPicture(at) {
    const { x, y } = origin(panes()[paneAt(at)]);
    return { x: (at.x - x) / state.zoom, y: (at.y - y) / state.zoom };
  }

  function zoomTo(zoom, at = { x: panes()[0].width / 2, y: view.height / 2 }) {
    if (!picture) return;
    const pane = panes()[paneAt(at)];
    const held = toPicture(at);
    const least = Math.min(fitZoom(), 1);
    state.zoom = clamp(zoom, least, MOST_ZOOM);
    state.fit = state.zoom === fitZoom();
    state.centre = {
      x: held.x - (at.x - pane.left - pane.width / 2) / state.zoom,
      y: held.y - (at.y - view.height / 2) / state.zoom,
    };
    invalidate('view');
  }

  function fitPicture() {
    state.fit = true;
    invalidate('view');
  }

  function pan(dx, dy) {
    state.centre = { x: state.centre.x - dx / state.zoom, y: state.centre.y - dy / state.zoom };
    invalidate('view');
  }

  function setDivider(share) {
    state.divider = clamp(share, 0, 1);
    $('divider').value = 100 * state.divider;
    $('divider').setAttribute('aria-valuetext', `before on ${Math.round(100 * state.divider)} %`);
    invalidate('view');
  }

  function setMode(mode) {
    state.mode = mode;
    document.querySelector(`input[name="mode"][value="${mode}"]`).checked = true;
    $('levels').hidden = mode === 'change';
    $('limits').hidden = mode !== 'change';
    $('palette').disabled = mode === 'change';
    hovered = null;
    tellScale();
    invalidate('view', 'plots');
  }

  function holdAlone(which) {
    state.alone = which;
    for (const name of ['before', 'after']) {
      $(`hold-${name}`).toggleAttribute('data-held', name === which);
    }
    invalidate('view');
  }

  // ---- Levels: one window for both, one scale for the change

  function setWindow(low, high) {
    if (!picture) return;
    state.low = clamp(low, 0, picture.top - 1);
    state.high = clamp(high, state.low + 1, picture.top);
    tellWindow();
  }

  function setAutomaticWindow() {
    if (!picture) return;
    const [low, high] = WINDOW.map((share) => percentile(picture.counts.before, share));
    setWindow(Math.min(low, high - 1), high);
  }

  function tellWindow() {
    for (const [id, code] of [['low', state.low], ['high', state.high]]) {
      $(id).max = picture.top;
      $(id).value = code;
      $(id).setAttribute('aria-valuetext', `${valueText(code)} ${picture.unit} ${celsiusText(code)}`);
      $(`${id}-value`).value = valueOf(code).toFixed(picture.decimals);
    }
    // Where both lie at one end, the one that can move is on top.
    $('low').style.zIndex = state.low > picture.top / 2 ? 1 : 0;
    tellScale();
    invalidate('view', 'plots');
  }

  function setLimit(codes) {
    state.limit = clamp(codes, 1, picture.top);
    const most = largestChange();
    $('limit').value = most > 1 ? (1000 * Math.log(state.limit)) / Math.log(most) : 1000;
    const text = textOf(picture.step * state.limit, picture.decimals);
    $('limit').setAttribute('aria-valuetext', `${text} ${picture.unit}`);
    $('limit-value').value = text;
    tellScale();
    invalidate('view');
  }

  const largestChange = () => Math.max(1, picture.changes.findLastIndex((count) => count > 0));
  const setAutomaticLimit = () => setLimit(percentile(picture.changes, UNCHANGED));

  function tellScale() {
    if (!picture) return;
    const change = state.mode === 'change';
    const points = change ? DIVERGING : PALETTES[state.palette];
    document.querySelector('.board').style.setProperty('--ramp', points.join(','));
    $('scale-unit').textContent = change ? `change, ${picture.unit}` : picture.unit;
    const middle = Math.round((state.low + state.high) / 2);
    const ticks = change
      ? [1, 0, -1].map((sign) => [differenceText(sign * state.limit), ''])
      : [state.high, middle, state.low].map((code) => [valueText(code), celsiusText(code)]);
    $('ticks').replaceChildren(...ticks.map(([value, degrees]) => {
      const tick = document.createElement('li');
      tick.textContent = value;
      tick.append(element('small', degrees));
      return tick;
    }));
  }

  function element(name, text) {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  }

  // ---- The cursor, profile and histograms

  function setCursor({ x, y }, pinned) {
    if (!picture) return;
    state.cursor = {
      x: clamp(Math.floor(x), 0, picture.width - 1),
      y: clamp(Math.floor(y), 0, picture.height - 1),
    };
    state.pinned = pinned;
    tellCursor();
    placeMarks();
    invalidate('plots');
  }

  function tellCursor() {
    const { cursor, pinned } = state;
    const [before, after] = [codeAt('before', cursor), codeAt('after', cursor)];
    const both = before !== null && after !== null;
    const change = both ? differenceText(after - before) : '–';
    const kelvin = both ? kelvinText(before, after) : '';
    const texts = {
      'value-before': valueText(before),
      'value-after': valueText(after),
      'value-change': change,
      'celsius-before': celsiusText(before),
      'celsius-after': celsiusText(after),
      'celsius-change': kelvin,
    };
    for (const [id, text] of Object.entries(texts)) $(id).textContent = text;
    for (const axis of ['x', 'y']) $(axis).value = cursor[axis];
    $('unpin').style.visibility = pinned ? 'visible' : 'hidden';
    $('profile-title').textContent = `Row ${cursor.y}`;
    $('told').textContent = pinned
      ? `Pinned at x ${cursor.x}, y ${cursor.y}: before ${texts['value-before']} ${texts['celsius-before']},`
        + ` after ${texts['value-after']} ${texts['celsius-after']}, change ${change} ${kelvin}`
      : '';
  }

  const PLOT = { top: 6, bottom: 18 }; // CSS pixels around the lines of a plot
  const coarse = matchMedia('(pointer: coarse)');
  const edge = () => (coarse.matches ? 12 : 7); // where the middle of a slider's thumb can get to

  function startPlot(canvas) {
    const scale = devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext('2d');
    context.scale(scale, scale);
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.lineJoin = 'round';
    return { context, left: edge(), right: width - edge(), top: PLOT.top, bottom: height - PLOT.bottom };
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

  function frame({ context, left, right, bottom }, first, last) {
    context.strokeStyle = colour('--line');
    context.beginPath();
    context.moveTo(left, bottom + 0.5);
    context.lineTo(right, bottom + 0.5);
    context.stroke();
    context.fillStyle = colour('--muted');
    context.fillText(first, left, bottom + 14);
    context.textAlign = 'right';
    context.fillText(last, right, bottom + 14);
    context.textAlign = 'left';
  }

  function line({ context, left, right, top, bottom }, shares, name) {
    context.strokeStyle = colour(name);
    context.lineWidth = name === '--before' ? 1 : 1.5;
    context.beginPath();
    let drawing = false;
    shares.forEach((share, i) => {
      const x = left + ((right - left) * i) / Math.max(shares.length - 1, 1);
      if (share !== null) context[drawing ? 'lineTo' : 'moveTo'](x, bottom - (bottom - top) * share);
      drawing = share !== null;
    });
    context.stroke();
  }

  function binned(counts) {
    const bins = new Float64Array(Math.min(counts.length, 160));
    counts.forEach((count, code) => { bins[Math.floor((code * bins.length) / counts.length)] += count; });
    return [...bins].map((count) => ($('log').checked ? Math.log1p(count) : count));
  }

  function drawHistogram() {
    const plot = startPlot($('histogram'));
    const { context, left, right, top, bottom } = plot;
    const at = (code) => left + ((right - left) * code) / picture.top;
    if (state.mode !== 'change') {
      context.fillStyle = colour('--grid');
      context.fillRect(at(state.low), top, at(state.high) - at(state.low), bottom - top);
    }
    const [before, after] = [binned(picture.counts.before), binned(picture.counts.after)];
    const most = Math.max(1, ...before, ...after);
    line(plot, before.map((count) => count / most), '--before');
    line(plot, after.map((count) => count / most), '--after');
    frame(plot, valueText(0), valueText(picture.top));
    $('histogram').setAttribute('aria-label', `Histograms of before and after over ${valueText(0)}`
      + ` to ${valueText(picture.top)} ${picture.unit}; medians ${medianText('before')} and ${medianText('after')}`);
  }

  const medianText = (which) => valueText(percentile(picture.counts[which], 0.5));

  function drawProfile() {
    const plot = startPlot($('profile'));
    const { context, left, right, top, bottom } = plot;
    const { x, y } = state.cursor;
    const rows = ['before', 'after'].map((which) =>
      Array.from({ length: picture.width }, (_, column) => codeAt(which, { x: column, y })));
    const measured = rows.flat().filter((code) => code !== null);
    const low = measured.reduce((a, b) => Math.min(a, b), picture.top);
    const high = measured.reduce((a, b) => Math.max(a, b), 0);
    const share = (code) => (code === null ? null : (code - low) / Math.max(high - low, 1));
    const column = left + ((right - left) * x) / Math.max(picture.width - 1, 1);
    context.fillStyle = colour('--muted');
    context.fillRect(column - 0.5, top, 1, bottom - top);
    line(plot, rows[0].map(share), '--before');
    line(plot, rows[1].map(share), '--after');
    frame(plot, '0', `${picture.width - 1}`);
    const range = measured.length ? `${valueText(low)} to ${valueText(high)} ${picture.unit}` : 'not measured';
    context.textAlign = 'center';
    context.fillText(range, (left + right) / 2, bottom + 14);
    $('profile').setAttribute('aria-label', `Before and after along row ${y}, ${range}`);
  }

  // ---- Drawing once a frame

  const dirty = new Set();

  function invalidate(...what) {
    if (!dirty.size) requestAnimationFrame(drawAll);
    what.forEach((part) => dirty.add(part));
    dirty.add('frame');
  }

  function drawAll() {
    const parts = new Set(dirty);
    dirty.clear();
    if (parts.has('view')) drawView();
    if (parts.has('plots') && picture) {
      drawHistogram();
      drawProfile();
    }
  }

  // ---- The list: choice, filter, order

  function tellChoice(focus) {
    const { name, figures, warning } = manifest.pictures[state.index];
    $('name').textContent = name;
    $('warning').textContent = warning ? `look at first: ${warning}` : '';
    $('warning').hidden = !warning;
    $('figures').replaceChildren(...figures.map(([label, value]) => {
      const row = document.createElement('tr');
      row.append(element('th', label), element('td', value));
      row.firstChild.scope = 'row';
      return row;
    }));
    view.setAttribute('aria-label', `Before and after of ${name}`);
    entries.forEach((entry, index) => {
      const chosen = index === state.index;
      entry.tabIndex = chosen ? 0 : -1;
      if (chosen) entry.setAttribute('aria-current', 'true');
      else entry.removeAttribute('aria-current');
    });
    scrollToEntry(entries[state.index]);
    if (focus) entries[state.index].focus({ preventScroll: true });
    tellPosition();
  }

  function scrollToEntry(entry) {
    // Only the list scrolls, never the page.
    const list = $('list');
    const [item, box] = [entry.getBoundingClientRect(), list.getBoundingClientRect()];
    list.scrollTop += Math.max(0, item.bottom - box.bottom + 8) + Math.min(0, item.top - box.top - 8);
    list.scrollLeft += Math.max(0, item.right - box.right + 8) + Math.min(0, item.left - box.left - 8);
  }

  function tellPosition() {
    const place = state.order.indexOf(state.index);
    $('position').textContent = `${place < 0 ? '–' : place + 1} / ${state.order.length}`;
  }

  function tellExactness() {
    $('exactness').textContent = picture.exact
      ? 'The numbers on this page are those of the files, exactly.'
      : `The numbers on this page are rounded to steps of ${picture.step.toPrecision(2)} ${picture.unit}.`;
  }

  function arrange() {
    const wanted = $('filter').value.trim().toLowerCase();
    const listed = entries.map((_, index) => index);
    if ($('order').value === 'first') {
      const urgent = (index) => (manifest.pictures[index].warning ? 0 : 1);
      listed.sort((a, b) => urgent(a) - urgent(b) || a - b);
    }
    const matches = (index) => {
      const { name, warning } = manifest.pictures[index];
      return `${name} ${warning ?? ''}`.toLowerCase().includes(wanted);
    };
    state.order = listed.filter(matches);
    const items = listed.map((index) => entries[index].parentElement);
    listed.forEach((index, i) => { items[i].hidden = !matches(index); });
    $('list').append(...items);
    $('matches').textContent = wanted
      ? `${state.order.length} of ${entries.length} pictures`
      : `${entries.length} pictures`;
    tellPosition();
    keepNeighbours();
  }

  // ---- Pointers: divider, pan, pinch, wheel, click

  const pointers = new Map();
  let gesture = null; // 'divider', 'pan' or 'pinch'
  let moved = 0; // CSS pixels since the pointer went down

  function pointOf({ clientX, clientY }) {
    const box = view.getBoundingClientRect();
    return { x: (clientX - box.left) * ratio(), y: (clientY - box.top) * ratio() };
  }

  function nearDivider(at) {
    return state.mode === 'divider' && Math.abs(at.x - dividerAt()) < NEAR * ratio();
  }

  function dragDivider(at) {
    const { left, right } = visible(panes()[0]);
    setDivider((at.x - left) / (right - left));
  }

  function press(event) {
    if (event.button || !picture) return;
    stage.setPointerCapture(event.pointerId);
    const at = pointOf(event);
    pointers.set(event.pointerId, at);
    moved = 0;
    // A picture that fits has nowhere to go: the divider follows then, wherever it is taken.
    const divides = state.mode === 'divider' && (nearDivider(at) || !('zoomed' in stage.dataset));
    gesture = pointers.size > 1 ? 'pinch' : divides ? 'divider' : 'pan';
  }

  function move(event) {
    if (!picture) return;
    const at = pointOf(event);
    const last = pointers.get(event.pointerId);
    if (!last) return hover(at);
    moved += Math.hypot(at.x - last.x, at.y - last.y) / ratio();
    if (gesture === 'pinch') pinch(event.pointerId, at);
    else if (moved > STILL && gesture === 'divider') dragDivider(at);
    else if (moved > STILL) pan(at.x - last.x, at.y - last.y);
    stage.dataset.grab = moved > STILL ? gesture : '';
    pointers.set(event.pointerId, at);
  }

  function hover(at) {
    hovered = paneAt(at);
    stage.dataset.grab = nearDivider(at) ? 'divider' : '';
    if (!state.pinned) setCursor(toPicture(at), false);
  }

  function pinch(id, at) {
    const other = [...pointers].find(([key]) => key !== id)?.[1];
    const last = pointers.get(id);
    if (!other) return;
    const distance = (a) => Math.hypot(a.x - other.x, a.y - other.y) || 1;
    pan((at.x - last.x) / 2, (at.y - last.y) / 2);
    zoomTo((state.zoom * distance(at)) / distance(last), other);
  }

  function release(event) {
    const at = pointers.get(event.pointerId);
    pointers.delete(event.pointerId);
    if (at && event.type === 'pointerup' && moved <= STILL && gesture !== 'pinch') {
      setCursor(toPicture(at), true);
    }
    if (!pointers.size) gesture = null;
    stage.dataset.grab = '';
  }

  function listenToPointers() {
    stage.addEventListener('pointerdown', press);
    stage.addEventListener('pointermove', move);
    for (const end of ['pointerup', 'pointercancel']) stage.addEventListener(end, release);
    stage.addEventListener('pointerleave', () => { hovered = null; placeMarks(); });
    stage.addEventListener('dblclick', (event) => {
      zoomTo(state.zoom * (event.shiftKey ? 0.5 : 2), pointOf(event));
    });
    stage.addEventListener('wheel', (event) => {
      event.preventDefault();
      const lines = event.deltaMode ? 33 : 1;
      zoomTo(state.zoom * 2 ** ((-event.deltaY * lines) / (event.ctrlKey ? 60 : 240)), pointOf(event));
    }, { passive: false });
  }

  // ---- Keys

  const go = (by) => show(step(by), $('list').contains(document.activeElement));
  const names = Object.keys(PALETTES);

  function setPalette(name) {
    state.palette = name;
    $('palette').value = name;
    tellScale();
    invalidate('view');
  }

  const KEYS = {
    n: () => go(1),
    p: () => go(-1),
    ArrowDown: () => go(1),
    ArrowUp: () => go(-1),
    ArrowLeft: () => setDivider(state.divider - 0.02),
    ArrowRight: () => setDivider(state.divider + 0.02),
    d: () => setMode('divider'),
    s: () => setMode('side'),
    c: () => setMode('change'),
    b: () => holdAlone('before'),
    a: () => holdAlone('after'),
    '+': () => zoomTo(state.zoom * ZOOM_STEP),
    '=': () => zoomTo(state.zoom * ZOOM_STEP),
    '-': () => zoomTo(state.zoom / ZOOM_STEP),
    0: fitPicture,
    1: () => zoomTo(1),
    v: () => setPalette(names[(names.indexOf(state.palette) + 1) % names.length]),
    w: setAutomaticWindow,
    f: () => setWindow(0, Infinity),
    '/': () => $('filter')?.focus(),
    '?': () => $('keys').showModal(),
    Escape: () => setCursor(state.cursor, false),
  };
  const PANS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const TYPING = 'select, input:not([type="range"], [type="radio"], [type="checkbox"])';

  const isTyping = ({ key, target }) =>
    target.matches(TYPING) && (key !== 'Escape' || target.type === 'search');

  function act(event) {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if ($('keys').open || !$('shortcuts').checked || isTyping(event)) return;
    const pans = event.shiftKey && PANS[key];
    if (key.startsWith('Arrow') && !pans && target.matches('input, .scroller')) return;
    const action = pans
      ? () => pan(pans[0] * 0.1 * view.width, pans[1] * 0.1 * view.width)
      : KEYS[key.length === 1 ? key.toLowerCase() : key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  function listenToKeys() {
    document.addEventListener('keydown', act);
    document.addEventListener('keyup', ({ key }) => {
      if (state.alone && key.toLowerCase() === state.alone[0]) holdAlone(null);
    });
    window.addEventListener('blur', () => holdAlone(null));
    $('list').addEventListener('keydown', ({ key }) => {
      const { order } = state;
      if (order.length && key === 'Home') show(order[0], true);
      if (order.length && key === 'End') show(order[order.length - 1], true);
    });
  }

  // ---- Controls

  const on = (id, type, listener) => $(id)?.addEventListener(type, listener);
  const click = (id, listener) => on(id, 'click', listener);

  function listenToHold(which) {
    const button = $(`hold-${which}`);
    const pressed = ({ key }) => key === ' ' || key === 'Enter';
    button.addEventListener('pointerdown', () => holdAlone(which));
    button.addEventListener('keydown', (event) => pressed(event) && holdAlone(which));
    button.addEventListener('keyup', (event) => pressed(event) && holdAlone(null));
    button.addEventListener('contextmenu', (event) => event.preventDefault());
    for (const end of ['pointerup', 'pointercancel', 'pointerleave', 'blur']) {
      button.addEventListener(end, () => holdAlone(null));
    }
  }

  function listenToControls() {
    entries.forEach((entry, index) => entry.addEventListener('click', () => show(index)));
    click('previous', () => go(-1));
    click('next', () => go(1));
    click('zoom-in', () => zoomTo(state.zoom * ZOOM_STEP));
    click('zoom-out', () => zoomTo(state.zoom / ZOOM_STEP));
    click('zoom-fit', fitPicture);
    click('zoom-one', () => zoomTo(1));
    click('auto', setAutomaticWindow);
    click('full', () => setWindow(0, Infinity));
    click('limit-auto', setAutomaticLimit);
    click('unpin', () => setCursor(state.cursor, false));
    click('help', () => $('keys').showModal());
    click('theme', () => setTheme(!isDark()));
    on('filter', 'input', arrange);
    on('order', 'change', arrange);
    on('palette', 'change', () => setPalette($('palette').value));
    on('divider', 'input', () => setDivider($('divider').value / 100));
    on('low', 'input', () => setWindow(Math.min(Number($('low').value), state.high - 1), state.high));
    on('high', 'input', () => setWindow(state.low, Math.max(Number($('high').value), state.low + 1)));
    on('low-value', 'change', () => setWindow(codeOf(Number($('low-value').value)), state.high));
    on('high-value', 'change', () => setWindow(state.low, codeOf(Number($('high-value').value))));
    on('limit', 'input', () => setLimit(Math.round(largestChange() ** ($('limit').value / 1000))));
    on('limit-value', 'change', () => setLimit(Math.round($('limit-value').value / picture.step)));
    on('log', 'change', () => invalidate('plots'));
    for (const axis of ['x', 'y']) {
      on(axis, 'change', () => setCursor({ ...state.cursor, [axis]: Number($(axis).value) }, true));
    }
    for (const radio of document.querySelectorAll('input[name="mode"]')) {
      radio.addEventListener('change', () => setMode(radio.value));
    }
    ['before', 'after'].forEach(listenToHold);
  }

  const prefersDark = matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (document.documentElement.dataset.theme ?? (prefersDark.matches ? 'dark' : 'light')) === 'dark';

  function setTheme(dark) {
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    tellTheme();
  }

  function tellTheme() {
    $('theme').textContent = isDark() ? 'Light page' : 'Dark page';
    invalidate('plots');
  }

  function followSize() {
    const observer = new ResizeObserver(([{ devicePixelContentBoxSize: boxes }]) => {
      view.width = boxes?.[0].inlineSize ?? Math.round(view.clientWidth * devicePixelRatio);
      view.height = boxes?.[0].blockSize ?? Math.round(view.clientHeight * devicePixelRatio);
      drawView(); // at once, for a canvas of a new size is empty
      invalidate('plots');
    });
    try {
      observer.observe(view, { box: 'device-pixel-content-box' });
    } catch {
      observer.observe(view);
    }
  }

  function followPrinting() {
    let opened = [];
    window.addEventListener('beforeprint', () => {
      opened = [...document.querySelectorAll('details:not([open])')];
      opened.forEach((details) => { details.open = true; });
    });
    window.addEventListener('afterprint', () => opened.forEach((details) => { details.open = false; }));
  }

  function start() {
    $('scriptless').hidden = true;
    if (!('DecompressionStream' in window)) {
      complain('This browser is too old to unpack the pictures. Their figures are below.');
      return;
    }
    for (const part of document.querySelectorAll('.needs-script')) part.hidden = false;
    document.querySelector('footer details').open = false;
    $('palette').append(...names.map((name) => new Option(name)));
    listenToPointers();
    listenToKeys();
    listenToControls();
    prefersDark.addEventListener('change', tellTheme);
    followSize();
    followPrinting();
    setDivider(state.divider);
    tellTheme();
    show(0);
  }

  // What files beside the page call, and what tests look at.
  const deal = {
    receive,
    state: () => structuredClone({
      ...state, decoded: unpacked.size, ratio: ratio(), panes: panes().map((pane) => ({ ...pane, ...origin(pane) })),
    }),
  };
  Object.defineProperty(window, 'deal', { value: Object.freeze(deal) });
  start();
})();
