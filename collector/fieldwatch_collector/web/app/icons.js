// The few icons of the page, drawn with the colour of the text around them. They never stand without a word.
import { html } from "./html.js";

const icon = (paths) => html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">${paths}</svg>`;
const stroke = (d) => html`<path d=${d} fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" />`;

export const Dot = () => icon(html`<circle cx="8" cy="8" r="4.5" fill="currentColor" />`);
export const Ring = () => icon(html`<circle cx="8" cy="8" r="4.5" fill="none" stroke="currentColor" stroke-width="1.7" />`);
export const Half = () =>
  icon(html`<circle cx="8" cy="8" r="4.5" fill="none" stroke="currentColor" stroke-width="1.7" /><path d="M8 3.5a4.5 4.5 0 0 1 0 9z" fill="currentColor" />`);
export const Cross = () => icon(stroke("M4 4l8 8M12 4l-8 8"));
export const Check = () => icon(stroke("M3.5 8.5l3 3 6-7"));
export const Warning = () => icon(stroke("M8 2.5l6 11H2zM8 7v3M8 12v.01"));
export const Search = () => icon(stroke("M11 11l3 3M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10z"));
export const Up = () => icon(stroke("M8 13V3.5M4.5 7L8 3.5 11.5 7"));
export const Down = () => icon(stroke("M8 3v9.5M4.5 9L8 12.5 11.5 9"));
export const Sun = () =>
  icon(stroke("M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7"));
export const Moon = () => icon(stroke("M13 9.6A5.6 5.6 0 0 1 6.4 3 5.4 5.4 0 1 0 13 9.6z"));
export const Auto = () =>
  icon(html`<circle cx="8" cy="8" r="5.6" fill="none" stroke="currentColor" stroke-width="1.7" /><path d="M8 2.4a5.6 5.6 0 0 1 0 11.2z" fill="currentColor" />`);
export const Copy = () => icon(stroke("M6 6V3.5h6.5V10H10M3.5 6H10v6.5H3.5z"));
export const Save = () => icon(stroke("M8 2.5v7.5M5 7.5l3 3 3-3M3 13.5h10"));
