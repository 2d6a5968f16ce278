package auditor

import (
	"mintmark/internal/ledger"
)

// history is what is known of a rotation.
type history struct {
	first    place // of the record that named it first
	versions map[int64]bool
	last     int64 // the highest version
	over     bool  // as of that
	request  [32]byte
	noted    bool // devices were noted
}

func (v *verification) history(at place, id string) *history {
	h := v.rotations[id]
	if h == nil {
		h = &history{first: at, versions: map[int64]bool{}}
		v.rotations[id] = h
	}
	return h
}

// rotation checks one version of a rotation. With several logs it may be read before the
// one that it follows.
func (v *verification) rotation(at place, c *ledger.RotationChange) {
	r := &c.Rotation
	h := v.history(at, r.ID)
	request := hash([]byte(string(r.Kind) + "\x00" + r.Old + "\x00" + r.New + "\x00" + string(r.Plan)))
	alone := len(v.Logs) == 1
	switch {
	case h.versions[r.Version]:
		v.find(at.file, at.line, "rotation %q has a second version %d", r.ID, r.Version)
		return
	case alone && r.Version != h.last+1:
		v.find(at.file, at.line, "version %d of rotation %q follows version %d: none may be missing", r.Version, r.ID, h.last)
	case c.Entry.Number != r.Version:
		v.find(at.file, at.line, "version %d of rotation %q has line %d in the journal", r.Version, r.ID, c.Entry.Number)
	case len(h.versions) > 0 && h.request != request:
		v.find(at.file, at.line, "rotation %q is not of the plan that it was recorded with any more", r.ID)
	case alone && !c.Over:
		if other := v.running(r.ID); other != "" {
			v.find(at.file, at.line, "rotation %q runs while %q is not over", r.ID, other)
		}
	}
	h.versions[r.Version], h.request = true, request
	if r.Version > h.last {
		h.last, h.over = r.Version, c.Over
	}
}

// running names a rotation that is not over, apart from one.
func (v *verification) running(but string) string {
	for id, h := range v.rotations {
		if id != but && h.last > 0 && !h.over {
			return id
		}
	}
	return ""
}

// anchors takes over that devices of a rotation were noted.
func (v *verification) anchors(at place, a *ledger.AnchorNotes) {
	h := v.history(at, a.Rotation)
	if len(v.Logs) == 1 && h.last == 0 && !h.noted {
		v.find(at.file, at.line, "devices of rotation %q are noted before it was recorded", a.Rotation)
	}
	h.noted = true
}

// settleRotations judges what several logs have of them.
func (v *verification) settleRotations() {
	if len(v.Logs) == 1 {
		return
	}
	running := 0
	for id, h := range v.rotations {
		if h.last == 0 {
			v.find(h.first.file, h.first.line, "devices of rotation %q are noted, and none of the given logs has recorded it", id)
			continue
		}
		for n := int64(1); n <= h.last; n++ {
			if !h.versions[n] {
				v.find(h.first.file, h.first.line, "version %d of rotation %q, of %d, is in none of the given logs", n, id, h.last)
				break
			}
		}
		if !h.over {
			if running++; running > 1 {
				v.find(h.first.file, h.first.line, "rotation %q runs while another one is not over", id)
			}
		}
	}
}
