// Package admin is mintmark's administrative API from the caller's side: what
// is on the wire, and a client.
//
// The commands speak nothing else, whether a server answers on the socket of
// the state directory (Dial) or the command itself hosts the same handlers for
// as long as it runs (New over InProcess). Package admin/adminhttp is the other
// side, and docs/admin-api.md the reference.
//
// Times are RFC 3339 in UTC, serial numbers and hashes are lower-case
// hexadecimal, certificates are PEM.
package admin
