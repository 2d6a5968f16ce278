package reconcile

import (
	"crypto/sha256"
	"errors"
)

// Agreed is what those who apply have agreed to, after a plan that was made before:
// the target may have changed since.
type Agreed struct {
	Hash        [sha256.Size]byte // that of the plan; zero for whatever is to be done
	Destructive bool              // allows what takes something out of service
}

// ErrChanged is the error of a plan in which there is more to be done than was agreed
// to, or something else.
var ErrChanged = errors.New("the plan is not the one that was agreed to: read it again")

// Check is nil if the plan does what was agreed to, and ErrChanged otherwise.
func (p Plan) Check(agreed Agreed) error {
	if agreed.Hash != [sha256.Size]byte{} && agreed.Hash != p.Hash() || p.Destructive() && !agreed.Destructive {
		return ErrChanged
	}
	return nil
}
