package awssim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
)

// world is one region of one account: its registry, its broker, its tables and
// its functions.
type world struct {
	sim     *Sim
	account Account
	region  string
	broker  *mqtt.Server
	inline  *mqtt.Client // publishes what AWS itself publishes

	// mu guards everything below. It is never held while the broker is called.
	// Lock order: mu, then sim.mu.
	mu        sync.Mutex
	seq       int64  // of the newest object
	code      string // registration code, empty until asked for
	cas       map[string]*caCertificate
	certs     map[string]*certificate
	policies  map[string]*policy
	things    map[string]*thing
	rules     map[string]*topicRule
	templates map[string]*template
	tags      map[string]map[string]string // by ARN
	tables    map[string]*table
	secrets   map[string]*secret                  // by name
	sessions  map[string]map[*deviceConn]struct{} // by certificate id
	fleet     fleetState
	group     groupState
	domain    domainState

	attached   map[string]map[*thing]struct{} // things by certificate id; what thing.principals say
	certOrder  ordered[*certificate]          // of certs
	thingOrder ordered[*thing]                // of things

	presence presence // of clients, has a lock of its own

	fnMu      sync.Mutex
	functions map[string]*function
}

func newWorld(s *Sim, a Account, region string) (*world, error) {
	w := &world{
		sim: s, account: a, region: region,
		cas:       map[string]*caCertificate{},
		certs:     map[string]*certificate{},
		policies:  map[string]*policy{},
		things:    map[string]*thing{},
		rules:     map[string]*topicRule{},
		templates: map[string]*template{},
		tags:      map[string]map[string]string{},
		tables:    map[string]*table{},
		secrets:   map[string]*secret{},
		sessions:  map[string]map[*deviceConn]struct{}{},
		attached:  map[string]map[*thing]struct{}{},
		functions: map[string]*function{},
		fleet:     newFleetState(),
		group:     newGroupState(),
		domain:    newDomainState(),
	}
	if err := w.startBroker(); err != nil {
		return nil, fmt.Errorf("starting the broker of account %s in %s: %w", a.ID, region, err)
	}
	return w, nil
}

// arn names a resource of this world, for example arn("iot", "cacert/"+id).
func (w *world) arn(service, resource string) string {
	return "arn:aws:" + service + ":" + w.region + ":" + w.account.ID + ":" + resource
}

// serverName is the Data-ATS endpoint of this world. The prefix is the account's,
// so that it stays the same from run to run.
func (w *world) serverName() string { return endpointName(w.account.ID, w.region) }

func endpointName(account, region string) string {
	sum := sha256.Sum256([]byte("endpoint of " + account))
	return "a" + hex.EncodeToString(sum[:])[:13] + "-ats.iot." + region + ".amazonaws.com"
}

// next returns the sequence number of a new object.
func (w *world) next() int64 {
	w.seq++
	return w.seq
}

func (w *world) now() time.Time { return w.sim.cfg.Now() }

// room refuses objects past the simulator's own bound.
func room[K comparable, V any](m map[K]V, kind string) error {
	if len(m) >= maxRecords {
		return iotError("LimitExceededException", "the simulator holds at most %d %s", maxRecords, kind)
	}
	return nil
}

// sorted lists the values of m by ascending sequence number.
func sorted[K comparable, V any](m map[K]V, seq func(V) int64) []V {
	out := make([]V, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	sort.Slice(out, func(i, j int) bool { return seq(out[i]) < seq(out[j]) })
	return out
}

// epoch is a timestamp as the IoT API writes it: seconds, with a fraction.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
