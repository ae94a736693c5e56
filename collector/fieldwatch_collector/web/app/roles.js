// Who may do what: each role may what the ones before it may. The collector checks; the page only says so beforehand.

const LEVEL = { viewer: 1, operator: 2, admin: 3 };

// Why this person may not do what needs `role`; empty = it is allowed.
export function mayNot(principal, role) {
  return (LEVEL[principal?.role] || 0) >= LEVEL[role] ? "" : `it needs the role ${role}, yours is ${principal?.role || "none"}`;
}
