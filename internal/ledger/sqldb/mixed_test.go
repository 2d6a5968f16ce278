package sqldb_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

// A call is one write and what came of it.
type call struct {
	kind string
	do   func(s *sqldb.Store) string
}

// inOneBatch makes all calls in their order, in one batch, and returns what came of each.
func inOneBatch(s *sqldb.Store, calls []call) []string {
	var ends []func()
	for range len(calls) + 1 { // they wait until the last one is there
		ends = append(ends, s.Announce())
	}
	told, ended := make([]string, len(calls)), make([]chan struct{}, len(calls))
	for n, c := range calls {
		queued := sqldb.Queued(s)
		ended[n] = make(chan struct{})
		go func() {
			told[n] = c.do(s)
			close(ended[n])
		}()
		for waits := true; waits && sqldb.Queued(s) == queued; runtime.Gosched() {
			select {
			case <-ended[n]: // refused before it was queued
				waits = false
			default:
			}
		}
	}
	for _, end := range ends {
		end()
	}
	for _, end := range ended {
		<-end
	}
	return told
}

// mixture makes calls of all kinds that have to do with issuance, for few devices and keys, so that they
// meet.
type mixture struct {
	r           *rand.Rand
	now         time.Time
	long, short ledger.Epoch // the short one lapses
	begun       []ledger.Intent
	open        []ledger.Intent
	issued      []ledger.Serial
	approved    []ledger.Enrollment
}

const mixedDevices, mixedOrders = 15, 3

func (m *mixture) device() string { return fmt.Sprint("dev-", m.r.IntN(mixedDevices)) }

func (m *mixture) intent() ledger.Intent {
	i := ledgertest.NewIntent(m.long, m.now, m.device(), fmt.Sprint("key-", m.r.IntN(60)))
	i.Serial = ledger.Serial(fmt.Sprintf("%08x%016x", m.now.Unix(), m.r.Uint64())) // the same in each run
	i.TBS = []byte("to be signed: " + i.Serial)
	i.Repeat = time.Duration(m.r.IntN(2)) * time.Hour
	i.SecondKey = m.r.IntN(3) > 0
	if len(m.begun) > 0 && m.r.IntN(3) == 0 {
		before := m.begun[max(0, len(m.begun)-1-m.r.IntN(30))]
		i.Device, i.Key, i.Purpose = before.Device, before.Key, before.Purpose
	}
	switch m.r.IntN(10) {
	case 0:
		i.Purpose, i.Device = ledger.ForServer, ""
	case 1:
		i.Purpose, i.Device, i.Order = ledger.ForClaim, "", "WO-0"
	case 2, 3:
		i.Order = fmt.Sprint("WO-", m.r.IntN(mixedOrders+1)) // one is unknown
	case 4:
		i.Secret = ledgertest.Key(fmt.Sprint("secret-", m.r.IntN(2)))
	case 5:
		if len(m.approved) > 0 {
			e := m.approved[m.r.IntN(len(m.approved))]
			i.Device, i.Key, i.Enrollment, i.Repeat = e.Device, e.Key, e.ID, 0
		}
	case 6:
		i.Epoch = m.short
	case 7:
		i.NotAfter = m.now.Add(time.Duration(m.r.IntN(60)) * time.Second)
	case 8:
		i.Listed = m.r.IntN(4) == 0
		if len(m.issued) > 0 {
			i.Serial = m.issued[m.r.IntN(len(m.issued))]
		}
	}
	switch {
	case i.Device != "":
		i.Purpose = ledger.ForDevice
	case i.Purpose == ledger.ForClaim:
		i.Order, i.Secret, i.Listed = "WO-0", [32]byte{}, false
	default:
		i.Purpose, i.Order, i.Secret, i.Listed = ledger.ForServer, "", [32]byte{}, false
	}
	if len(m.issued) > 0 && m.r.IntN(2) == 0 {
		i.Requester.Kind, i.Requester.Name = []string{"certificate", "certificate", "ra"}[m.r.IntN(3)], string(m.issued[m.r.IntN(len(m.issued))])
	}
	m.begun = append(m.begun, i)
	return i
}

func (m *mixture) begin(t *testing.T) call {
	var intents []ledger.Intent
	for range 1 + m.r.IntN(4) {
		intents = append(intents, m.intent())
	}
	return call{"begin", func(s *sqldb.Store) string { return fmt.Sprint(s.Begin(t.Context(), intents)) }}
}

func (m *mixture) finish(t *testing.T) call {
	var issued []ledger.Issued
	for range 1 + m.r.IntN(4) {
		if len(m.open) == 0 {
			return m.begin(t)
		}
		i := m.open[m.r.IntN(len(m.open))]
		c := ledgertest.Signed(i, m.now)
		switch m.r.IntN(8) {
		case 0:
			c.Tasks = []ledger.Task{{Kind: "test", Key: i.Device}}
		case 1:
			c.DER = []byte("other bytes")
		}
		issued = append(issued, c)
	}
	return call{"finish", func(s *sqldb.Store) string { return fmt.Sprint(s.Finish(t.Context(), issued)) }}
}

// other is a call of which no batch asks ahead.
func (m *mixture) other(t *testing.T) call {
	now, device := m.now, m.device()
	switch m.r.IntN(9) {
	case 0:
		if len(m.open) > 0 {
			serial := m.open[m.r.IntN(len(m.open))].Serial
			return call{"void", func(s *sqldb.Store) string { return fmt.Sprint(s.Void(t.Context(), serial, now)) }}
		}
	case 1:
		if len(m.issued) > 0 {
			by := ledger.Selector{Serial: m.issued[m.r.IntN(len(m.issued))]}
			return call{"revoke", func(s *sqldb.Store) string {
				return fmt.Sprint(s.Revoke(t.Context(), by, ledger.Superseded, "test", now, nil))
			}}
		}
	case 2:
		by := ledger.Selector{Device: device}
		return call{"revoke device", func(s *sqldb.Store) string {
			return fmt.Sprint(s.Revoke(t.Context(), by, ledger.Superseded, "test", now, nil))
		}}
	case 3:
		return call{"hold", func(s *sqldb.Store) string {
			return fmt.Sprint(s.HoldUnknown(t.Context(), device, ledger.Held, "test", "", now))
		}}
	case 4, 5:
		return call{"release", func(s *sqldb.Store) string {
			return fmt.Sprint(s.HoldDevice(t.Context(), device, ledger.Expected, "test", "", now))
		}}
	case 6:
		secret := ledger.DeviceSecret{Device: device, SHA256: ledgertest.Key(fmt.Sprint("secret-", m.r.IntN(2))), At: now, ExpiresAt: now.Add(time.Minute)}
		return call{"secret", func(s *sqldb.Store) string {
			return fmt.Sprint(s.PutSecrets(t.Context(), []ledger.DeviceSecret{secret}))
		}}
	case 7:
		order, quantity := fmt.Sprint("WO-", m.r.IntN(mixedOrders)), 5+m.r.IntN(20)
		return call{"order", func(s *sqldb.Store) string {
			return fmt.Sprint(s.ChangeOrder(t.Context(), order, ledger.OrderChange{Quantity: &quantity}, "test", now))
		}}
	}
	return call{"lapsed", func(s *sqldb.Store) string { return fmt.Sprint(s.VoidLapsed(t.Context(), now)) }}
}

// Which certificate is named where several have the same key, or one device has several, is left to the database.
var anyOfThem = regexp.MustCompile(`certificate [0-9a-f]+ of device "dev-[0-9]+" holds|already holds certificate [0-9a-f]+`)

// Whatever is in a batch, in whatever order, comes out as if one had been after the other: what each is
// told, what the database has, and what the log says. The batches are PostgreSQL's, where things are asked
// ahead and gathered, and what is in turn is SQLite's, where nothing is.
func TestMixedBatchIsAsInTurn(t *testing.T) {
	isolations(t, func(t *testing.T, url string) {
		turn, turnLog := open(t, t.TempDir())
		batch, batchLog := openPostgres(t, url, "alpha", t.TempDir())
		sqldb.HoldBatches(batch)
		both := func(what string, do func(s *sqldb.Store) string) {
			t.Helper()
			if a, b := do(turn), do(batch); a != b {
				t.Fatalf("%s: %s in batches, %s in turn", what, b, a)
			}
		}
		m := &mixture{r: rand.New(rand.NewPCG(1, 2)), now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
		join := func(name string, ttl time.Duration) (epoch ledger.Epoch) {
			both("join", func(s *sqldb.Store) string {
				var err error
				epoch, err = s.Join(t.Context(), name, m.now, ttl)
				return fmt.Sprint(epoch, err)
			})
			return epoch
		}
		m.long, m.short = join("alpha", 1000*time.Hour), join("beta", time.Minute)
		for n := range mixedOrders {
			order := ledger.Order{ID: fmt.Sprint("WO-", n), Profile: "gateway", Quantity: 10, NotBefore: m.now.Add(-time.Hour), NotAfter: m.now.Add(1000 * time.Hour), CreatedAt: m.now}
			both("order", func(s *sqldb.Store) string { return fmt.Sprint(s.CreateOrder(t.Context(), order)) })
		}
		for round := range 150 {
			var calls []call
			begun, alone := len(m.begun), m.r.IntN(2) == 0
			for range 1 + m.r.IntN(8) {
				m.now = m.now.Add(time.Duration(m.r.IntN(1000)) * time.Millisecond)
				switch {
				case !alone && m.r.IntN(3) == 0:
					calls = append(calls, m.other(t))
				case m.r.IntN(3) == 0:
					calls = append(calls, m.finish(t))
				default:
					calls = append(calls, m.begin(t))
				}
			}
			var inTurn []string
			for _, c := range calls {
				inTurn = append(inTurn, c.do(turn))
			}
			for n, told := range inOneBatch(batch, calls) {
				if anyOfThem.ReplaceAllString(told, "") != anyOfThem.ReplaceAllString(inTurn[n], "") {
					t.Fatalf("round %d, %s, call %d of %d:\n%s in the batch\n%s in turn", round, calls[n].kind, n, len(calls), told, inTurn[n])
				}
			}
			// Who asks under a certificate has it by then; reading it here keeps it.
			m.open, m.issued = slices.DeleteFunc(append(m.open, m.begun[begun:]...), func(i ledger.Intent) bool {
				c, err := turn.Certificate(t.Context(), i.Serial)
				if err == nil && c.State == ledger.Valid {
					m.issued = append(m.issued, i.Serial)
				}
				return err != nil || c.State != ledger.Open && m.r.IntN(4) > 0
			}), m.issued[max(0, len(m.issued)-40):]
			if round%5 == 4 {
				m.now = m.now.Add(20 * time.Second)
				i := m.intent()
				i.Device = m.device()
				e := waits(i.Device, "", m.now)
				e.Key, e.Profile, e.ExpiresAt = i.Key, i.Profile, m.now.Add(time.Hour)
				both("queue", func(s *sqldb.Store) string {
					queued, err := s.QueueEnrollment(t.Context(), e, 1000)
					e.ID = queued.ID
					return fmt.Sprint(queued, err)
				})
				both("decide", func(s *sqldb.Store) string {
					return fmt.Sprint(s.DecideEnrollment(t.Context(), e.ID, true, "anna", "", m.now, m.now.Add(time.Hour)))
				})
				m.approved = append(m.approved, e)
			}
			if round%20 == 19 {
				m.short = join("beta", time.Minute)
			}
		}
		both("certificates", func(s *sqldb.Store) string { return fmt.Sprint(everything(t, s)) })
		for n := range mixedDevices {
			id := fmt.Sprint("dev-", n)
			both("device", func(s *sqldb.Store) string { return fmt.Sprint(s.Device(t.Context(), id)) })
			both("secret", func(s *sqldb.Store) string { return fmt.Sprint(s.DeviceSecret(t.Context(), id)) })
		}
		for n := range mixedOrders {
			both("order", func(s *sqldb.Store) string { return fmt.Sprint(s.Order(t.Context(), fmt.Sprint("WO-", n))) })
		}
		for _, e := range m.approved {
			both("enrollment", func(s *sqldb.Store) string { return fmt.Sprint(s.Enrollment(t.Context(), e.ID)) })
		}
		inTurn, batches := logged(t, turnLog), logged(t, batchLog)
		for n := range inTurn {
			if n == len(batches) || inTurn[n] != batches[n] {
				t.Fatalf("event %d of %d and %d is in turn %s", n, len(batches), len(inTurn), inTurn[n])
			}
		}
		kinds := make(map[ledger.State]int)
		for _, c := range everything(t, turn) {
			kinds[c.State]++
		}
		if kinds[ledger.Open] == 0 || kinds[ledger.Valid] < 50 || kinds[ledger.Voided] < 20 || kinds[ledger.Revoked] < 20 || len(inTurn) != len(batches) {
			t.Errorf("certificates: %v; %d and %d events", kinds, len(batches), len(inTurn)) // the test is worth what it has met
		}
	})
}

// logged lists the events of a log.
func logged(t *testing.T, log *audit.Log) (all []string) {
	t.Helper()
	for b, err := range log.Batches(ledger.Head{}) {
		if err != nil || b.Aborted {
			t.Fatalf("batch %d: aborted %v, %v", b.Head.Batch, b.Aborted, err)
		}
		for _, e := range b.Events {
			text, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
	}
	return all
}
