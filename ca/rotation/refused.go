package rotation

import "strings"

// Refused says why something about a rotation cannot be done. Its text is for the person
// who asked.
type Refused struct {
	Rule  string // for example rotation-overlap; closed set, see docs/rotation.md
	Texts []string
}

func (r *Refused) Error() string { return strings.Join(r.Texts, "; ") }
