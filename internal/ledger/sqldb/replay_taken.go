package sqldb

import (
	"hash/maphash"

	"mintmark/internal/ledger"
)

// How approvals and one-time secrets are rebuilt. What intents take and void
// ones give back is not in events of its own: it follows from theirs.

// enrollment writes an entry as it is from then on, unless a later change was
// read before.
func (r *replay) enrollment(e *ledger.Event) error {
	entry := *e.Enrollment
	recorded, changed := micros(entry.At), micros(e.At)
	if changed == recorded {
		// It came in then, and what was over for long was removed.
		if err := r.sweepEnrollments(entry.At); err != nil {
			return err
		}
	}
	return r.putEnrollment(&entry, changed)
}

const sqlReplaySecret = `INSERT INTO device_secrets (device, sha256, at, actor, expires_at) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (device) DO UPDATE SET serial = CASE WHEN device_secrets.sha256 = excluded.sha256 THEN device_secrets.serial ELSE NULL END,
	sha256 = excluded.sha256, at = excluded.at, actor = excluded.actor, expires_at = excluded.expires_at WHERE excluded.at >= device_secrets.at`

var secretSeed = maphash.MakeSeed()

// secretMark is the short form of a device's secret. It is keyed, so that nobody
// can choose two that are the same.
func secretMark(device string, hash [32]byte) uint64 {
	var h maphash.Hash
	h.SetSeed(secretSeed)
	h.Write(hash[:])
	h.WriteString(device)
	return h.Sum64()
}

func (r *replay) putSecrets(e *ledger.Event) error {
	if len(e.Secrets) > 0 && e.Secrets[0].SHA256 != [32]byte{} {
		if err := r.sweepSecrets(e.At); err != nil {
			return err
		}
	}
	for _, d := range e.Secrets {
		if _, err := r.exec(sqlReplaySecret, d.Device, hashOrNull(d.SHA256), micros(d.At), clean(d.Actor), micros(d.ExpiresAt)); err != nil {
			return err
		}
		r.secrets[secretMark(d.Device, d.SHA256)] = true
	}
	return nil
}

const (
	sqlReplayTake       = `UPDATE enrollments SET serial = $2 WHERE id = $1`
	sqlReplayTakeSecret = `UPDATE device_secrets SET serial = $2 WHERE device = $1 AND sha256 = $3`
)

// rival is an intent that has taken what another one had taken, too. One of them
// is void; where several servers wrote, that may be read later.
type rival struct {
	serial []byte
	intent *ledger.Intent
}

// takes writes down what an intent has taken, or returns what must be there
// first. It changes nothing then.
func (r *replay) takes(i *ledger.Intent, serial []byte) (needs string, err error) {
	if i.Enrollment == "" && i.Secret == [32]byte{} {
		return "", nil
	}
	if i.Secret != [32]byte{} && !r.secrets[secretMark(i.Device, i.Secret)] {
		return aSecret(i.Device, i.Secret), nil
	}
	for _, one := range []struct{ text, id, needs string }{
		{`SELECT count(*) FROM enrollments WHERE id = $1`, i.Enrollment, anEnrollment(i.Enrollment)},
		{`SELECT count(*) FROM orders WHERE id = $1`, i.Order, anOrder(i.Order)},
	} {
		n := 0
		if one.id == "" {
			continue
		}
		if err := r.query(one.text, scanInto(&n), one.id); err != nil {
			return "", err
		}
		if n == 0 {
			return one.needs, nil
		}
	}
	if i.Enrollment != "" {
		if err := r.note(anEnrollment(i.Enrollment), `SELECT serial FROM enrollments WHERE id = $1`, i.Enrollment, i, serial); err != nil {
			return "", err
		}
		if _, err := r.exec(sqlReplayTake, i.Enrollment, serial); err != nil {
			return "", err
		}
	}
	if i.Secret != [32]byte{} {
		if err := r.note(aSecret(i.Device, i.Secret), sqlSecretSerial, i.Device, i, serial); err != nil {
			return "", err
		}
		// One that has been replaced by then is nobody's any more.
		if _, err := r.exec(sqlReplayTakeSecret, i.Device, serial, i.Secret[:]); err != nil {
			return "", err
		}
	}
	return "", nil
}

const sqlSecretSerial = `SELECT serial FROM device_secrets WHERE device = $1`

// note remembers both intents if what one takes is another's already.
func (r *replay) note(what, text, name string, i *ledger.Intent, serial []byte) error {
	var holder []byte
	if err := r.query(text, scanInto(&holder), name); err != nil {
		return err
	}
	if holder == nil && r.rivals[what] == nil {
		return nil
	}
	if holder != nil && r.rivals[what] == nil {
		r.rivals[what] = []rival{{holder, i}}
	}
	r.rivals[what] = append(r.rivals[what], rival{serial, i})
	return nil
}

// settleRivals gives what several intents have taken to the one of them that is
// not void. If the logs have two, it is spent, and audit verify says so.
func (r *replay) settleRivals() error {
	for what, rivals := range r.rivals {
		var holder []byte
		for _, v := range rivals {
			c, err := r.certificate(v.serial)
			if err != nil {
				return err
			}
			if c.State != ledger.Voided {
				holder = v.serial
			}
		}
		i := rivals[0].intent
		var err error
		if i.Enrollment != "" && what == anEnrollment(i.Enrollment) {
			_, err = r.exec(sqlReplayTake, i.Enrollment, holder)
		} else {
			_, err = r.exec(sqlReplayTakeSecret, i.Device, holder, i.Secret[:])
		}
		if err != nil {
			return err
		}
	}
	return nil
}
