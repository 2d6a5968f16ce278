package access

import "slices"

// Principal is someone who calls the administrative API, as found out from the
// socket's peer or the TLS certificate, with the roles that the ledger has.
type Principal struct {
	Name  string
	Roles []Role
}

// Can reports whether the principal may do the operation.
func (p Principal) Can(op Operation) bool { return Can(p.Roles, op) }

// Has reports whether the principal has the role.
func (p Principal) Has(role Role) bool { return slices.Contains(p.Roles, role) }
