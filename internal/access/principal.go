package access

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"mintmark/internal/ledger"
)

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

// Of is the principal of a record.
func Of(record ledger.Principal) Principal {
	p := Principal{Name: record.Name}
	for _, role := range record.Roles {
		p.Roles = append(p.Roles, Role(role))
	}
	return p
}

// ByName finds the principal in force of that name.
func ByName(list []ledger.Principal, name string) (ledger.Principal, bool) {
	return find(list, func(p ledger.Principal) bool { return p.Name == name })
}

// ByUnixUser finds the principal in force whom a local user's processes act as.
func ByUnixUser(list []ledger.Principal, user string) (ledger.Principal, bool) {
	return find(list, func(p ledger.Principal) bool { return user != "" && p.UnixUser == user })
}

func find(list []ledger.Principal, match func(ledger.Principal) bool) (ledger.Principal, bool) {
	i := slices.IndexFunc(list, func(p ledger.Principal) bool { return p.RemovedAt.IsZero() && match(p) })
	if i < 0 {
		return ledger.Principal{}, false
	}
	return list[i], true
}

// Fingerprint is the SHA-256 of a principal's public key in hexadecimal, or empty.
func Fingerprint(key []byte) string {
	if len(key) == 0 {
		return ""
	}
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:])
}

// Officers lists the principals in force with the role officer.
func Officers(list []ledger.Principal) []ledger.Principal {
	var officers []ledger.Principal
	for _, p := range list {
		if p.RemovedAt.IsZero() && Of(p).Has(Officer) {
			officers = append(officers, p)
		}
	}
	return officers
}

// Signers lists the officers in force who can sign an approval, one for each
// key: whoever holds a key is one person, whatever the names.
func Signers(list []ledger.Principal) []ledger.Principal {
	var signers []ledger.Principal
	for _, p := range Officers(list) {
		same := func(q ledger.Principal) bool { return bytes.Equal(p.Key, q.Key) }
		if _, err := ParseKey(p.Key); err == nil && !slices.ContainsFunc(signers, same) {
			signers = append(signers, p)
		}
	}
	return signers
}

// quorum is how many officers with a key it takes before anything can need the
// signature of a second one.
const quorum = 2

// Unprotected says in words what one officer can do alone because nobody else
// could sign, or is empty.
func Unprotected(list []ledger.Principal) string {
	signers := Signers(list)
	if len(signers) >= quorum {
		return ""
	}
	have := "no officer has a key"
	if len(signers) == 1 {
		have = fmt.Sprintf("only one officer has a key (%s)", signers[0].Name)
	}
	var operations []string
	for _, rule := range Table {
		if rule.TwoPersons {
			operations = append(operations, string(rule.Operation))
		}
	}
	last := len(operations) - 1
	return fmt.Sprintf("%s: nobody can give a second signature, and whoever has the role can do %s and %s alone; give two officers a key (mintmark officer add, docs/roles.md)",
		have, strings.Join(operations[:last], ", "), operations[last])
}

// ValidRole reports whether there is such a role.
func ValidRole(name string) bool { return slices.Contains(Roles, Role(name)) }

// name is what a principal may be called: it becomes a common name and stands in
// records beside other words.
var name = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// ValidName reports whether a principal may be called that.
func ValidName(text string) bool { return name.MatchString(text) }
