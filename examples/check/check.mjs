// Whether a code was typed right, by its check character alone. `mask` is a code with ? for all but its literals.

export const SAFE = "23456789BCDFGHJKMNPQRSTVWXYZ";
export const DIGITS = "0123456789";
const DAMM = "0317598642709215486342068713591750983426612304597836742095815869720134894536201794386172052581436790";

// For codes of {safe n} and {check}; for those of {number n} and {check}, `alphabet` is DIGITS.
export function isRight(code, mask, alphabet = SAFE) {
  const typed = [...code];
  const wanted = [...mask];
  if (typed.length !== wanted.length || wanted.some((one, at) => one !== "?" && one !== typed[at])) return false;
  let state = 0;
  for (const character of typed.filter((_, at) => wanted[at] === "?")) {
    const digit = alphabet.indexOf(character);
    if (digit < 0) return false;
    if (alphabet === DIGITS) state = Number(DAMM[10 * state + digit]);
    else state = ([0, 2, 3, 1][state % 4] ^ (digit % 4)) + 4 * ((3 * (state >> 2) + (digit >> 2)) % 7);
  }
  return state === 0;
}
