// Numbers, times and names as people read them. Times come as RFC 3339 text with nine decimals.

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const TIME_UNITS = ["µs", "ms", "s"];
const BIT_UNITS = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];

function scaled(value, units) {
  let place = 0;
  let number = value || 0;
  while (number >= 999.5 && place < units.length - 1) {
    number /= 1000;
    place += 1;
  }
  const digits = place === 0 || number >= 99.5 ? 0 : number >= 9.95 ? 1 : 2;
  return `${number.toFixed(digits)}\u202f${units[place]}`;
}

export const bytes = (value) => scaled(value, BYTE_UNITS);
export const bitRate = (value) => scaled(value, BIT_UNITS);
export const micros = (value) => scaled(value, TIME_UNITS);
export const count = (value) => COUNT.format(value || 0);
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

export function percent(part, whole) {
  const share = whole > 0 ? (100 * part) / whole : 0;
  if (share > 0 && share < 0.1) return "< 0.1\u202f%";
  return `${share.toFixed(share < 10 ? 1 : 0)}\u202f%`;
}

// Milliseconds since the epoch, or null for no time.
export function millis(text) {
  if (!text) return null;
  const value = Date.parse(text);
  return Number.isNaN(value) ? null : value;
}

const STEPS = [
  [60, 1, "s"],
  [3600, 60, "min"],
  [48 * 3600, 3600, "h"],
  [60 * 86400, 86400, "d"],
  [730 * 86400, 30.44 * 86400, "mo"],
  [Infinity, 365.25 * 86400, "y"],
];

export function duration(seconds) {
  const step = STEPS.find(([below]) => seconds < below);
  return `${Math.max(0, Math.floor(seconds / step[1]))}\u202f${step[2]}`;
}

export function ago(text, nowMs) {
  const at = millis(text);
  if (at === null) return "never";
  const seconds = (nowMs - at) / 1000;
  if (seconds < -5) return `in ${duration(-seconds)}`;
  return seconds < 2 ? "now" : `${duration(seconds)} ago`;
}

const pad = (number) => String(number).padStart(2, "0");

export function exact(text) {
  const at = millis(text);
  if (at === null) return "";
  const day = new Date(at);
  const offset = -day.getTimezoneOffset();
  const zone = `UTC${offset < 0 ? "−" : "+"}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
  return `${day.getFullYear()}-${pad(day.getMonth() + 1)}-${pad(day.getDate())} ${clock(at)} ${zone}`;
}

export function clock(ms, seconds = true) {
  const day = new Date(ms);
  const text = `${pad(day.getHours())}:${pad(day.getMinutes())}`;
  return seconds ? `${text}:${pad(day.getSeconds())}` : text;
}

export function day(ms) {
  const date = new Date(ms);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

export function deviceName(device) {
  return device.name || device.ips[0] || device.macs[0] || device.id;
}

// In the place of a vendor: a MAC with the U/L bit of IEEE 802 is nobody's, its device has made it up.
export const LOCAL_MAC = "random or local MAC";

export function vendorless(device) {
  return parseInt(device.macs[0]?.slice(0, 2), 16) & 2 ? LOCAL_MAC : "–";
}

export const endpoint = (address, port) => (port ? (address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`) : address);

// A key that sorts addresses as numbers: IPv4 before IPv6, 10.0.0.9 before 10.0.0.10.
export function addressKey(text) {
  if (!text) return "~";
  if (!text.includes(":")) return `4${text.split(".").map((part) => part.padStart(3, "0")).join("")}`;
  const [head, tail] = text.split("::");
  const left = head ? head.split(":") : [];
  const right = tail ? tail.split(":") : [];
  const zeros = tail === undefined ? [] : Array(Math.max(0, 8 - left.length - right.length)).fill("0");
  return `6${[...left, ...zeros, ...right].map((part) => part.padStart(4, "0")).join("")}`;
}
