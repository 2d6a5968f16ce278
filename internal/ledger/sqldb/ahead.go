package sqldb

import (
	"database/sql"

	"mintmark/internal/ledger"
)

// ahead is what the intents of a batch ask first, asked for all of them together. A shared
// database is some way off: with a question for each of them the way is most of what a
// batch takes. Nothing is asked ahead where something else than issuance is in the batch, which
// could change the answers; what intents change themselves is struck out: see recordIntent.
type ahead struct {
	requesters map[string]requesterState // by serial number; the zero one for a certificate that is not there
	unused     map[[32]byte]bool         // keys that nothing in force or on its way has
	devices    map[string]standing
	bare       map[string]bool // devices that have nothing in force or on its way, of those that are only introduced
}

// requesterState is how the certificate stands that asks.
type requesterState struct {
	state    string
	issuedAt int64
}

// standing is what an intent needs to know of its device. The zero value is that of one that is
// not known.
type standing struct {
	held, order string
	key         []byte
	listedAt    int64
}

// All in the order in which every server locks rows.
const (
	sqlRequesters = `SELECT serial, state, issued_at FROM certificates WHERE serial = ANY($1) ORDER BY serial`
	sqlUsedKeys   = `SELECT spki FROM certificates WHERE spki = ANY($1) AND state IN ('open', 'valid')`
	sqlBearing    = `SELECT DISTINCT device FROM certificates WHERE device = ANY($1) AND device <> '' AND state IN ('open', 'valid')`
	sqlStandings  = `SELECT d.id, d.held, d.order_id, d.spki, COALESCE(i.committed_at, 0)
	FROM devices d LEFT JOIN imports i ON i.id = d.import_id WHERE d.id = ANY($1)`
)

// askAhead asks for the intents of ops, whose locks are taken.
func (t *tx) askAhead(ops []*op) error {
	if !t.shared {
		return nil
	}
	intents := 0
	for _, o := range ops {
		intents += len(o.intents)
	}
	if intents < 2 || !issuanceAlone(ops) {
		return nil
	}
	a := &ahead{requesters: make(map[string]requesterState), unused: make(map[[32]byte]bool), devices: make(map[string]standing), bare: make(map[string]bool)}
	var serials, keys [][]byte
	var devices, introduced []string
	for _, o := range ops {
		for _, i := range o.intents {
			if serial := requesterSerial(i.Requester); serial != nil {
				if _, there := a.requesters[string(serial)]; !there {
					serials = append(serials, serial)
					a.requesters[string(serial)] = requesterState{}
				}
			}
			if !a.unused[i.Key] {
				keys = append(keys, i.Key[:])
				a.unused[i.Key] = true
			}
			if _, there := a.devices[i.Device]; i.Device != "" && !there {
				devices = append(devices, i.Device)
				a.devices[i.Device] = standing{}
			}
			if i.Device != "" && i.Requester.Bootstrap() && !a.bare[i.Device] {
				introduced = append(introduced, i.Device)
				a.bare[i.Device] = true
			}
		}
	}
	if len(serials) > 0 {
		err := t.query(sqlRequesters+t.forShare, func(rows *sql.Rows) error {
			var serial []byte
			var r requesterState
			err := rows.Scan(&serial, &r.state, &r.issuedAt)
			a.requesters[string(serial)] = r
			return err
		}, serials)
		if err != nil {
			return err
		}
	}
	err := t.query(sqlUsedKeys, func(rows *sql.Rows) error {
		var key []byte
		err := rows.Scan(&key)
		if len(key) == 32 {
			delete(a.unused, [32]byte(key))
		}
		return err
	}, keys)
	if err != nil {
		return err
	}
	if len(devices) > 0 {
		err := t.query(sqlStandings, func(rows *sql.Rows) error {
			var id string
			var s standing
			err := rows.Scan(&id, &s.held, &s.order, &s.key, &s.listedAt)
			a.devices[id] = s
			return err
		}, devices)
		if err != nil {
			return err
		}
	}
	if len(introduced) > 0 {
		err := t.query(sqlBearing, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			delete(a.bare, id)
			return err
		}, introduced)
		if err != nil {
			return err
		}
	}
	t.ahead = a
	return nil
}

// requesterSerial is the serial number of the certificate that asks; nil if none does, or none that
// could be of the ledger.
func requesterSerial(r ledger.Requester) []byte {
	switch r.Kind {
	case "certificate", "claim", "ra":
	default:
		return nil
	}
	serial, err := serialBytes(ledger.Serial(r.Name))
	if err != nil {
		return nil
	}
	return serial
}

// requester returns how the certificate that asks stands.
func (t *tx) requester(serial []byte) (r requesterState, err error) {
	if t.ahead != nil {
		if r, asked := t.ahead.requesters[string(serial)]; asked {
			return r, nil
		}
	}
	if t.recent != nil {
		if c, kept, _ := t.recent.get(serial); kept {
			return requesterState{string(c.State), micros(c.IssuedAt)}, nil
		}
	}
	err = t.query(`SELECT state, issued_at FROM certificates WHERE serial = $1`+t.forShare, scanInto(&r.state, &r.issuedAt), serial)
	return r, err
}

// standingOf returns what is known of a device.
func (t *tx) standingOf(device string) (s standing, err error) {
	if t.ahead != nil {
		if s, asked := t.ahead.devices[device]; asked {
			return s, nil
		}
	}
	err = t.query(sqlStanding, scanInto(&s.held, &s.order, &s.key, &s.listedAt), device)
	return s, err
}

// isUnused reports whether it is known that nothing has a key.
func (t *tx) isUnused(key [32]byte) bool { return t.ahead != nil && t.ahead.unused[key] }

// isBare reports whether it is known that a device has nothing in force or on its way.
func (t *tx) isBare(device string) bool { return t.ahead != nil && t.ahead.bare[device] }

// begun strikes out what an intent changes that was recorded.
func (t *tx) begun(i *ledger.Intent) {
	if t.ahead != nil {
		delete(t.ahead.unused, i.Key)
		delete(t.ahead.bare, i.Device)
	}
}
