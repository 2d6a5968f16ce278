// Package revocation publishes what is revoked: CRLs, one of each authority or one of
// each shard, signed on a schedule and soon after each revocation, put into the places
// that others serve them from, and served over plain HTTP together with the CA
// certificates that devices look for.
//
// It owns the schedule and the HTTP shape. What is revoked stands in the
// ledger; the encoding and the signature of a CRL are package ca's.
package revocation

import (
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// Config is what New needs; every field that does not say otherwise must be set.
type Config struct {
	Ledger ledger.Revocations
	// Authorities lists those whose CRLs are ours to sign, as they are now.
	Authorities func() []*ca.Authority
	// Period is how often a CRL is signed when nothing is revoked.
	Period time.Duration
	// Lifetime is from thisUpdate to nextUpdate.
	Lifetime time.Duration
	Now      func() time.Time
	Logger   *slog.Logger

	// Shards is into how many CRLs that of an authority is divided, by its name; may be
	// nil. Shards that there were once stay.
	Shards map[string]int
	// ShardCount says the same of an authority, if it is set, in the place of Shards: also of
	// one that has taken another's place since.
	ShardCount func(authority string) int
	// Points lists the distribution points that certificates on a CRL name. Must be set
	// if the ledger knows of any shard.
	Points func(authority string, shard int) []string
	// Places get every CRL and CA certificate; may be nil. Each has a name of its own.
	Places []Place
	// Wake is called when a CRL must be signed though nothing was revoked; may be nil.
	Wake func()
}

// Publisher signs and serves CRLs. Its methods may be called concurrently.
type Publisher struct {
	Config

	// signing holds the *turn of each authority by its name: numbers rise in the order
	// of signing, and a key that hangs keeps its own CRLs only.
	signing sync.Map
	// encoding bounds how many CRLs are held and encoded at a time. No key is asked
	// under it.
	encoding chan struct{}
	scopes   scopes
	shelf    shelf
	places   []*placed

	nextUpdate *prometheus.GaugeVec
	failures   *prometheus.CounterVec
	placedAt   *prometheus.GaugeVec
	unplaced   *prometheus.CounterVec
}

// New returns a publisher that has published nothing yet.
func New(config Config) *Publisher {
	issuer, place := []string{"issuer"}, []string{"place"}
	p := &Publisher{
		Config:   config,
		encoding: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		nextUpdate: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "crl_next_update_timestamp_seconds",
			Help: "nextUpdate of the latest CRL of each authority, in Unix time; of several, the earliest.",
		}, issuer),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crl_failures_total",
			Help: "CRLs that could not be signed or stored.",
		}, issuer),
		placedAt: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "crl_published_timestamp_seconds",
			Help: "When a place of crl.publish last had every CRL and CA certificate, in Unix time; 0 for never since the start.",
		}, place),
		unplaced: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crl_publish_failures_total",
			Help: "Attempts to put a CRL or CA certificate into a place of crl.publish that failed.",
		}, place),
	}
	p.scopes.known = make(map[ledger.CRLName]signedScope)
	p.shelf.crls = make(map[ledger.CRLName]ledger.CRL)
	for _, place := range config.Places {
		p.places = append(p.places, newPlaced(place))
		p.placedAt.WithLabelValues(place.Name()) // there from the start
		p.unplaced.WithLabelValues(place.Name())
	}
	return p
}

// Metrics lists the collectors.
func (p *Publisher) Metrics() []prometheus.Collector {
	return []prometheus.Collector{p.nextUpdate, p.failures, p.placedAt, p.unplaced}
}
