package auditor

import (
	"crypto/sha256"
	"fmt"
	"hash/maphash"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
)

// place is where a record stands.
type place struct {
	log  int
	file string
	line int
}

// openIntent is what must be known of an intent until its outcome.
type openIntent struct {
	place
	tbs    [32]byte // SHA-256
	issuer string
	order  string // that pays for it
	// What else it has taken.
	enrollment string
	secret     uint64 // short form, 0 for none
}

// fate is what became of a serial number that is not open.
type fate byte

const (
	unknown fate = iota
	issued
	revoked
	voided
)

// laterSerial is a record about a serial number that was not known when it was
// read: another log has it, or none.
type laterSerial struct {
	place
	serial string
	fate   fate
}

// account is what is known of a work order.
type account struct {
	taken    int64
	quantity int64 // the highest ever recorded
	recorded bool
	first    place
}

// crlKey names a sequence of CRL numbers. It is followed in each log apart, for
// the clocks of servers differ.
type crlKey struct {
	log    int
	issuer string
	shard  int
}

var seed = maphash.MakeSeed()

// mark is the short form of a serial number. It is keyed, so that nobody can
// choose two that are the same.
func mark(serial ledger.Serial) uint64 { return maphash.String(seed, string(serial)) }

// batch checks what the records of a batch say.
func (v *verification) batch(log int, b *audit.Batch) {
	if l := &v.report.Logs[log]; b.Head.Batch > l.covered {
		l.Uncovered += int64(len(b.Events))
	}
	for i := range b.Events {
		v.records++
		if b.Aborted {
			continue // it never was
		}
		e := &b.Events[i]
		v.report.Kinds[e.Kind]++
		v.event(place{log, b.File, b.Line + i}, b.Server, e)
	}
}

func (v *verification) event(at place, server string, e *ledger.Event) {
	switch e.Kind {
	case ledger.EventIntent:
		v.intent(at, server, e.Intent)
	case ledger.EventIssued:
		v.issued(at, e.Issued)
	case ledger.EventVoided:
		v.voided(at, *e.Voided)
	case ledger.EventRevocation:
		v.revocation(at, e.Revocation)
	case ledger.EventImported:
		v.imported(at, e.Imported)
	case ledger.EventAuthority:
		v.authority(at, e.Authority)
	case ledger.EventCRL:
		key := crlKey{at.log, e.CRL.Issuer, e.CRL.Shard}
		if last := v.crls[key]; e.CRL.Number <= last {
			of := fmt.Sprintf("%q", e.CRL.Issuer)
			if e.CRL.Shard > 0 {
				of = fmt.Sprintf("shard %d of %s", e.CRL.Shard, of)
			}
			v.find(at.file, at.line, "CRL %d of %s follows CRL %d: numbers must rise", e.CRL.Number, of, last)
		}
		v.crls[key] = e.CRL.Number
	case ledger.EventOrder:
		a := v.account(e.Order.ID)
		a.recorded, a.quantity = true, max(a.quantity, int64(e.Order.Quantity))
	case ledger.EventPrincipal:
		v.people.put(e.Principal)
	case ledger.EventApproval:
		v.approval(at, e.Approval)
	case ledger.EventEnrollment:
		v.enrollment(at, e.Enrollment)
	case ledger.EventSecrets:
		v.recorded(e.Secrets)
	case ledger.EventRollover:
		if len(v.rollovers) < maxWaiting {
			v.rollovers = append(v.rollovers, lateRollover{at, *e.Rollover})
		}
	case ledger.EventRotation:
		v.rotation(at, e.Rotation)
	case ledger.EventAnchors:
		v.anchors(at, e.Anchors)
	}
}

func (v *verification) account(order string) *account {
	a := v.orders[order]
	if a == nil {
		a = &account{}
		v.orders[order] = a
	}
	return a
}

func (v *verification) intent(at place, server string, i *ledger.Intent) {
	if v.open[string(i.Serial)] != nil || v.known[mark(i.Serial)] != unknown {
		v.find(at.file, at.line, "serial number %s is used a second time", i.Serial)
		return
	}
	if i.Epoch.Server != server {
		v.find(at.file, at.line, "intent %s is of server %q and stands in the log of %q", i.Serial, i.Epoch.Server, server)
	}
	o := &openIntent{place: at, tbs: sha256.Sum256(i.TBS), issuer: i.Issuer}
	if i.Order != "" && i.Purpose == ledger.ForDevice {
		o.order = i.Order
		a := v.account(i.Order)
		if a.taken == 0 {
			a.first = at
		}
		a.taken++
	}
	if o.enrollment = i.Enrollment; o.enrollment != "" {
		v.takesEnrollment(at, i)
	}
	if i.Secret != [32]byte{} {
		v.takesSecret(at, o, i)
	}
	v.open[string(i.Serial)] = o
}

func (v *verification) issued(at place, i *ledger.Issued) {
	o := v.open[string(i.Serial)]
	if o == nil {
		switch v.known[mark(i.Serial)] {
		case issued, revoked:
			v.find(at.file, at.line, "a second certificate %s was issued", i.Serial)
		case voided:
			v.find(at.file, at.line, "certificate %s was issued although its intent is void", i.Serial)
		default:
			v.find(at.file, at.line, "certificate %s was issued without an intent", i.Serial)
		}
		return
	}
	delete(v.open, string(i.Serial))
	v.known[mark(i.Serial)] = issued
	v.report.Certificates++
	if !v.Unread {
		v.certificate(at, o, i.Serial, i.DER)
	}
}

func (v *verification) voided(at place, serial ledger.Serial) {
	if o := v.open[string(serial)]; o != nil {
		v.void(serial, o)
		return
	}
	v.outcome(at, serial, voided)
}

// void ends an intent, which gives back what it has taken.
func (v *verification) void(serial ledger.Serial, o *openIntent) {
	delete(v.open, string(serial))
	v.known[mark(serial)] = voided
	v.report.Voided++
	v.giveBack(o)
}

func (v *verification) revocation(at place, r *ledger.Revocation) {
	if v.known[mark(r.Serial)] == issued {
		v.known[mark(r.Serial)] = revoked
		v.report.Revoked++
		return
	}
	v.outcome(at, r.Serial, revoked)
}

// outcome is a revocation or voiding that does not fit what was read so far. It
// may, once the other logs have been read as far.
func (v *verification) outcome(at place, serial ledger.Serial, what fate) {
	if len(v.Logs) > 1 && v.known[mark(serial)] == unknown && len(v.later) < maxLater {
		v.later = append(v.later, laterSerial{at, string(serial), what})
		return
	}
	v.misfit(at, serial, what)
}

// maxLater bounds what waits for other logs.
const maxLater = 1 << 20

func (v *verification) misfit(at place, serial ledger.Serial, what fate) {
	if what == voided {
		switch v.known[mark(serial)] {
		case issued, revoked:
			v.find(at.file, at.line, "intent %s was voided although its certificate was issued", serial)
		case voided:
			v.find(at.file, at.line, "intent %s was voided a second time", serial)
		default:
			v.find(at.file, at.line, "serial number %s was voided, and none of the given logs holds its intent", serial)
		}
		return
	}
	switch {
	case v.known[mark(serial)] == revoked:
		v.find(at.file, at.line, "certificate %s was revoked a second time", serial)
	case v.known[mark(serial)] == voided || v.open[string(serial)] != nil:
		v.find(at.file, at.line, "certificate %s was revoked although none was issued", serial)
	default:
		v.find(at.file, at.line, "certificate %s was revoked, and none of the given logs has issued it", serial)
	}
}

// settle judges what waited for the end of all logs.
func (v *verification) settle() {
	for _, l := range v.later {
		serial := ledger.Serial(l.serial)
		o := v.open[l.serial]
		switch {
		case l.fate == voided && o != nil:
			v.void(serial, o)
		case l.fate == revoked && v.known[mark(serial)] == issued:
			v.known[mark(serial)] = revoked
			v.report.Revoked++
		default:
			v.misfit(l.place, serial, l.fate)
		}
	}
	for id, a := range v.orders {
		switch {
		case a.taken > 0 && !a.recorded:
			v.find(a.first.file, a.first.line, "work order %q pays for certificates, and none of the given logs has created it", id)
		case a.taken > a.quantity:
			v.find(a.first.file, a.first.line, "work order %q pays for %d certificates and intents, its quantity is %d", id, a.taken, a.quantity)
		}
	}
}

func (v *verification) imported(at place, c *ledger.Certificate) {
	if v.open[string(c.Serial)] != nil || v.known[mark(c.Serial)] != unknown {
		v.find(at.file, at.line, "serial number %s is used a second time", c.Serial)
		return
	}
	v.known[mark(c.Serial)] = issued
	v.report.Imported++
	if !v.Unread {
		v.pool.add(job{place: at, serial: c.Serial, der: c.DER})
	}
}
