package sqldb

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"mintmark/internal/ledger"
)

// How each kind of event changes a ledger that is rebuilt.

// apply writes what an event says, or returns what it needs first. It uses the
// statements of the ledger's own writes and makes none of their decisions:
// whatever followed from them has events of its own.
func (r *replay) apply(e waitingEvent) (needs string, err error) {
	now := micros(e.At)
	switch e.Kind {
	case ledger.EventIntent:
		return r.intent(e.Intent)
	case ledger.EventIssued:
		return r.issued(e.Issued)
	case ledger.EventVoided:
		b, err := serialBytes(*e.Voided)
		if err != nil {
			return "", err
		}
		if voided, err := r.void(b, e.At); voided || err != nil {
			return "", err
		}
		return r.missing(b, aSerial(*e.Voided))
	case ledger.EventRevocation:
		return r.revocation(e.Event)
	case ledger.EventImported:
		b, err := checkImported(e.Imported)
		if err != nil {
			return "", err
		}
		refusal, err := r.importCertificate(e.Imported, b, e.At)
		return "", errors.Join(refusal, err)
	case ledger.EventAuthority:
		return "", r.putAuthority(e.Authority)
	case ledger.EventCRL:
		if err := checkShard(e.CRL.Shard); err != nil {
			return "", err
		}
		_, err := r.exec(`INSERT INTO shard_crls (issuer, shard, taken_number) VALUES ($1, $2, $3) ON CONFLICT (issuer, shard) DO UPDATE SET
	taken_number = CASE WHEN shard_crls.taken_number < excluded.taken_number THEN excluded.taken_number ELSE shard_crls.taken_number END`, e.CRL.Issuer, e.CRL.Shard, e.CRL.Number)
		return "", err
	case ledger.EventImport, ledger.EventListing, ledger.EventListed, ledger.EventUnlisted:
		return r.importing(e.Event)
	case ledger.EventDevice:
		return r.device(e.Device, now)
	case ledger.EventOrder:
		return "", r.order(e.Order)
	case ledger.EventPrincipal:
		return r.principal(e.Principal)
	case ledger.EventApproval:
		return r.approval(e.log, e.Approval)
	case ledger.EventEnrollment:
		return "", r.enrollment(e.Event)
	case ledger.EventSecrets:
		return "", r.putSecrets(e.Event)
	case ledger.EventRollover:
		if err := checkRollover(e.Rollover); err != nil {
			return "", err
		}
		return "", r.putRollover(e.Rollover, now)
	case ledger.EventRotation:
		return r.rotation(e.Rotation)
	case ledger.EventAnchors:
		return r.anchors(e.Anchors)
	}
	return "", errors.New("this kind is not known to the ledger")
}

// missing tells a serial number that is not there yet from one in another
// state.
func (r *replay) missing(serial []byte, needs string) (string, error) {
	c, err := r.certificate(serial)
	if errors.Is(err, ledger.ErrNotFound) {
		return needs, nil
	}
	if err == nil {
		err = fmt.Errorf("serial number %s is %s by then", c.Serial, c.State)
	}
	return "", err
}

func (r *replay) intent(i *ledger.Intent) (string, error) {
	serial, err := checkIntent(i)
	if err != nil {
		return "", err
	}
	if needs, err := r.takes(i, serial); needs != "" || err != nil {
		return needs, err
	}
	if i.Order != "" && i.Purpose == ledger.ForDevice {
		n, err := r.exec(`UPDATE orders SET taken = taken + 1 WHERE id = $1`, i.Order)
		if err != nil {
			return "", err
		}
		if n == 0 {
			return anOrder(i.Order), nil
		}
	}
	address := ""
	if i.Requester.Address.IsValid() {
		address = i.Requester.Address.String()
	}
	n, err := r.exec(sqlInsertIntent, serial, i.Issuer, i.Profile, i.Label, string(i.Purpose), i.Device, clean(i.Subject), i.Requester.Kind, i.Requester.Name, address,
		i.Key[:], micros(i.NotBefore), micros(i.NotAfter), micros(i.At), i.Epoch.Server, i.Epoch.Number, i.TBS, i.Order, i.Shard)
	if err == nil && n == 0 {
		err = fmt.Errorf("serial number %s is recorded already", i.Serial)
	}
	r.epochs[i.Epoch.Server] = max(r.epochs[i.Epoch.Server], i.Epoch.Number)
	return "", err
}

func (r *replay) issued(i *ledger.Issued) (string, error) {
	serial, err := serialBytes(i.Serial)
	if err != nil {
		return "", err
	}
	n, err := r.exec(sqlFinish, serial, i.DER, micros(i.At))
	if err != nil {
		return "", err
	}
	if n == 0 {
		return r.missing(serial, aSerial(i.Serial))
	}
	_, err = r.exec(sqlPutDevice, serial, micros(i.At))
	return "", err
}

func (r *replay) revocation(e *ledger.Event) (string, error) {
	v := e.Revocation
	serial, err := serialBytes(v.Serial)
	if err != nil {
		return "", err
	}
	c, err := r.certificate(serial)
	switch {
	case errors.Is(err, ledger.ErrNotFound) || err == nil && c.State == ledger.Open:
		return aCertificate(v.Serial), nil
	case err != nil:
		return "", err
	case c.State != ledger.Valid:
		return "", fmt.Errorf("certificate %s is %s by then", v.Serial, c.State)
	}
	if _, err := r.exec(sqlRevoke, serial, micros(e.At), int64(v.Reason), clean(v.Actor)); err != nil {
		return "", err
	}
	if err := r.changed(serial); err != nil {
		return "", err
	}
	if c.Device != "" {
		_, err = r.exec(sqlSetCurrent, c.Device)
	}
	return "", err
}

func (r *replay) putAuthority(a *ledger.Authority) error {
	chain, err := json.Marshal(a.Chain)
	if err != nil {
		return err
	}
	_, err = r.exec(sqlPutAuthority, a.Name, a.Certificate, string(chain), a.KeyURI, micros(a.CreatedAt))
	return err
}

// importing applies what is said of a device list. Rows that stand against
// another server's list wait until that one has ended, and all of their import
// with them.
func (r *replay) importing(e *ledger.Event) (string, error) {
	if e.Kind == ledger.EventImport {
		i := e.Import
		_, err := r.exec(sqlOpenImport, i.ID, clean(i.File), clean(i.Actor), micros(i.At), zeroOrOne(i.Update), i.Server)
		return "", err
	}
	id := ""
	if e.Listing != nil {
		id = e.Listing.Import
	} else {
		id = e.Import.ID
	}
	if r.blocked[id] {
		return anyImport, nil
	}
	i, err := r.importOf(id)
	switch {
	case err != nil:
		return "", err
	case i.state == "":
		return anImport(id), nil
	case i.state != "open":
		return "", fmt.Errorf("import %q is %s by then", id, i.state)
	}
	switch e.Kind {
	case ledger.EventListing:
		rows, err := checkListings(e.Listing.Rows)
		if err != nil {
			return "", err
		}
		err = r.stage(&i, rows)
		var row *ledger.RowError
		if errors.As(err, &row) {
			r.blocked[id] = true
			return anyImport, nil
		}
		return "", err
	case ledger.EventListed:
		if _, err := r.exec(sqlCloseImport, id); err != nil {
			return "", err
		}
		if err := r.indexFields(i); err != nil {
			return "", err
		}
		if err := r.commitImport(&i, e.At); err != nil {
			return "", err
		}
		return "", r.inParts(r.dropRows, id, sqlMerged)
	default:
		if _, err := r.exec(sqlDropImport, id); err != nil {
			return "", err
		}
		if err := r.inParts(r.dropDevices, id, ""); err != nil {
			return "", err
		}
		if err := r.inParts(r.dropRows, id, ""); err != nil {
			return "", err
		}
		return "", r.inParts(r.dropRuns, id, sqlDropped)
	}
}

// indexFields is Store.indexFields inside the transaction.
func (r *replay) indexFields(i storedImport) error {
	for after := ""; ; {
		var fields []field
		found := 0
		err := r.query(sqlIndexNext, func(rows *sql.Rows) error {
			var text string
			if err := rows.Scan(&after, &text); err != nil {
				return err
			}
			found++
			values, err := readFields(text)
			fields = fieldsOf(fields, after, values)
			return err
		}, i.ID, after, devicesInRun)
		if err != nil || found == 0 {
			return err
		}
		sortFields(fields)
		run := int64(commonRun)
		if i.New > smallList && len(fields) > 0 {
			if err := r.query(sqlNewRun, scanInto(&run), i.ID); err != nil {
				return err
			}
		}
		if err := r.putFields(run, fields); err != nil {
			return err
		}
	}
}

// inParts runs part until it has found all, and then a statement.
func (r *replay) inParts(part func(id string) (int, error), id, last string) error {
	for {
		found, err := part(id)
		if err != nil {
			return err
		}
		if found < cleanAtOnce {
			break
		}
	}
	if last == "" {
		return nil
	}
	_, err := r.exec(last, id)
	return err
}

func (r *replay) device(d *ledger.DeviceChange, now int64) (string, error) {
	held := ""
	if d.State == ledger.Held || d.State == ledger.Retired {
		held = string(d.State)
	}
	hold := sqlHold
	if d.New {
		hold = sqlHoldNew
	}
	n, err := r.exec(hold, d.Device, held, now, clean(d.Actor), clean(d.Note))
	if err == nil && n == 0 {
		return aDevice(d.Device), nil
	}
	return "", err
}

// sqlReplayOrder writes an order as it is from some time on, unless a later
// change was read before. What is taken of it follows from the intents.
const sqlReplayOrder = `INSERT INTO orders (id, product, profile, label, station, quantity, ranges, listed, networks, not_before, not_after, secret, state,
	created_at, created_by, changed_at, changed_by)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
	ON CONFLICT (id) DO UPDATE SET quantity = excluded.quantity, not_after = excluded.not_after, secret = excluded.secret, state = excluded.state,
	changed_at = excluded.changed_at, changed_by = excluded.changed_by WHERE excluded.changed_at >= orders.changed_at`

func (r *replay) order(o *ledger.Order) error {
	ranges, networks, err := checkOrder(o)
	if err != nil {
		return err
	}
	_, err = r.exec(sqlReplayOrder, o.ID, o.Product, o.Profile, o.Label, o.Station, o.Quantity, ranges, zeroOrOne(o.Listed), networks,
		micros(o.NotBefore), micros(o.NotAfter), hashOrNull(o.Secret), string(o.State), micros(o.CreatedAt), clean(o.CreatedBy), micros(o.ChangedAt), clean(o.ChangedBy))
	return err
}

// principal writes a principal. One whose key or Unix user is another's still
// waits for that one's removal, and with it whatever follows about its name.
func (r *replay) principal(p *ledger.Principal) (string, error) {
	if needs := r.people[p.Name]; needs != "" {
		return needs, nil
	}
	roles, err := json.Marshal(p.Roles)
	if err != nil {
		return "", err
	}
	key := p.Key
	if len(key) == 0 {
		key = nil
	}
	if p.RemovedAt.IsZero() {
		other := ""
		if err := r.query(sqlSamePerson, scanInto(&other), p.Name, key, p.UnixUser); err != nil {
			return "", err
		}
		if other != "" {
			r.people[p.Name] = aPrincipal(other)
			return aPrincipal(other), nil
		}
	}
	_, err = r.exec(sqlPutPrincipal, p.Name, string(roles), key, p.UnixUser, micros(p.AddedAt), p.AddedBy, micros(p.RemovedAt))
	return "", err
}

func (r *replay) approval(log int, a *ledger.Approval) (string, error) {
	if a.State == ledger.Pending {
		n, err := r.exec(sqlPropose, a.ID, a.Operation, a.Words, a.Plan, a.Proposer, micros(a.At), micros(a.ExpiresAt))
		if err == nil && n == 0 {
			err = fmt.Errorf("approval %q is recorded already", a.ID)
		}
		return "", err
	}
	state := ""
	var plan []byte
	var decided, run int64
	err := r.query(`SELECT state, plan, decided_at, run_at FROM approvals WHERE id = $1`, scanInto(&state, &plan, &decided, &run), a.ID)
	if err != nil {
		return "", err
	}
	switch {
	case state == "":
		return anApproval(a.ID), nil
	case !bytes.Equal(plan, a.Plan):
		return "", fmt.Errorf("approval %q is not over what was proposed", a.ID)
	}
	// A step of another log that does not know yet what is recorded came before
	// that: what was carried out must not become approved again.
	if last, ok := r.moved[a.ID]; ok && last != log && (micros(a.RunAt) < run || micros(a.RunAt) == run && micros(a.DecidedAt) < decided) {
		return "", nil
	}
	r.moved[a.ID] = log
	_, err = r.exec(sqlMoveApproval, a.ID, state, string(a.State), micros(a.ExpiresAt), a.DecidedBy, micros(a.DecidedAt), a.Signature, a.RunBy, micros(a.RunAt), clean(a.Outcome))
	return "", err
}
