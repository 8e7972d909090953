// The sheet to draw on. A stroke that ends, or a sheet that is wiped, is sent as the event `draw` with the picture; what Python
// puts into `value` (the address of a picture) is shown on the sheet.
const sheet = element.querySelector('canvas');
const pen = sheet.getContext('2d');
let last = null;

function wipe() {
  pen.clearRect(0, 0, sheet.width, sheet.height);
}

function position(event) {
  const box = sheet.getBoundingClientRect();
  return [(event.clientX - box.left) * sheet.width / box.width, (event.clientY - box.top) * sheet.height / box.height];
}

function stroke(event) {
  const next = position(event);
  pen.lineWidth = 24;
  pen.lineCap = pen.lineJoin = 'round';
  pen.strokeStyle = '#111';
  pen.beginPath();
  pen.moveTo(...last);
  pen.lineTo(...next);
  pen.stroke();
  last = next;
}

function send() {
  trigger('draw', { image: sheet.toDataURL('image/png') });
}

sheet.addEventListener('pointerdown', (event) => {
  sheet.setPointerCapture(event.pointerId);
  last = position(event);
  stroke(event);
  event.preventDefault();
});
sheet.addEventListener('pointermove', (event) => {
  if (last) stroke(event);
});
for (const name of ['pointerup', 'pointercancel']) {
  sheet.addEventListener(name, () => {
    if (last) send();
    last = null;
  });
}
element.querySelector('button').addEventListener('click', () => {
  wipe();
  send();
});

watch('value', () => {
  const picture = new Image();
  picture.onload = () => {
    wipe();
    pen.drawImage(picture, 0, 0, sheet.width, sheet.height);
  };
  if (props.value) picture.src = props.value;
});
