// The board to fill in: one field per cell. A digit that is typed, pasted or deleted is sent as the event `edit` with all 81
// cells, 0 for a blank; what Python puts into `value` (81 digits) is shown in the fields.
const cells = [...element.querySelectorAll('input')];

function show(digits) {
  cells.forEach((cell, index) => { cell.value = digits[index] === '0' ? '' : digits[index]; });
}

function send() {
  trigger('edit', { cells: cells.map((cell) => cell.value || '0').join('') });
}

cells.forEach((cell, index) => {
  cell.addEventListener('input', () => {
    cell.value = cell.value.replace(/[^1-9]/g, '').slice(-1);
    send();
  });
  cell.addEventListener('focus', () => cell.select());
  cell.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -9, ArrowDown: 9 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    cells[(index + step + 81) % 81].focus();
  });
  cell.addEventListener('paste', (event) => {
    const digits = event.clipboardData.getData('text').replace(/[.]/g, '0').replace(/[^0-9]/g, '');
    if (digits.length < 2) return;
    event.preventDefault();
    if (digits.length === 81) {
      show(digits);
      send();
    }
  });
});

watch('value', () => { if (props.value) show(props.value); });
if (props.value) show(props.value);
