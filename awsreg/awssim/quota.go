package awssim

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"sync"
	"time"
)

// Quota is how often one operation may be called in one account and Region.
type Quota struct {
	PerSecond float64 // 0 is no limit
	Burst     int     // calls at once after a pause; 0 is PerSecond, rounded up
}

// Quotas switches the throttling of the control plane on. The zero value is AWS's
// table as it stands in DefaultQuotas.
type Quotas struct {
	// Scale multiplies every rate and burst, so that a rehearsal of hours takes
	// minutes. 0 means 1.
	Scale float64

	// Operations replaces or adds quotas by name of operation, as Calls names them.
	Operations map[string]Quota
}

// DefaultQuotas is the quota table of AWS IoT Core, by name of operation: each
// operation has its own rate per account and Region (AWS General Reference, AWS
// IoT Core endpoints and quotas, in the edition of November 2019, which many
// accounts still have; all of them can be raised). How far a burst may go over the
// rate is not documented; here it is one second's worth.
//
// The rates of the three operations of fleet provisioning over MQTT exist
// (L-CAFFCA46, L-83161BB8 and L-B2BBBD8C in Service Quotas), but their values
// differ between Regions and are not public for all; here they are those of the
// operations of the same name over HTTPS, and that of CreateCertificateFromCsr for
// CreateKeysAndCertificate. Operations that are not in the table are not limited.
func DefaultQuotas() map[string]Quota {
	table := map[string]Quota{}
	for _, op := range []string{
		"GetRegistrationCode", "DeleteRegistrationCode", "RegisterCACertificate", "DescribeCACertificate", "UpdateCACertificate",
		"DeleteCACertificate", "ListCACertificates", "RegisterCertificate", "RegisterThing", "UpdateCertificate", "DescribeCertificate",
		"ListCertificatesByCA", "TransferCertificate", "CreatePolicy", "mqtt:RegisterThing",
	} {
		table[op] = Quota{PerSecond: 10}
	}
	for _, op := range []string{
		"AttachPolicy", "AttachThingPrincipal", "CreateThing", "CreateCertificateFromCsr",
		"mqtt:CreateCertificateFromCsr", "mqtt:CreateKeysAndCertificate",
	} {
		table[op] = Quota{PerSecond: 15}
	}
	return table
}

func (q *Quotas) check() error {
	if q == nil {
		return nil
	}
	if !(q.Scale >= 0 && q.Scale <= 1e6) {
		return fmt.Errorf("quotas: the scale %v is not between 0 and a million", q.Scale)
	}
	for op, one := range q.Operations {
		if !(one.PerSecond >= 0 && one.PerSecond <= 1e6) || one.Burst < 0 || one.Burst > 1e6 {
			return fmt.Errorf("quotas: the quota of %q is not between 0 and a million", op)
		}
	}
	return nil
}

// limiter holds a token bucket for each operation of each world. Its clock is the
// machine's, not Config.Now, which tests move.
type limiter struct {
	quotas map[string]Quota // scaled; nil without throttling

	mu      sync.Mutex
	buckets map[string]*bucket // by world and operation
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter(q *Quotas) *limiter {
	l := &limiter{buckets: map[string]*bucket{}}
	if q == nil {
		return l
	}
	scale := q.Scale
	if scale == 0 {
		scale = 1
	}
	l.quotas = DefaultQuotas()
	maps.Copy(l.quotas, q.Operations)
	for op, one := range l.quotas {
		burst := float64(one.Burst)
		if one.Burst == 0 {
			burst = one.PerSecond
		}
		l.quotas[op] = Quota{PerSecond: one.PerSecond * scale, Burst: max(1, int(math.Ceil(burst*scale)))}
	}
	return l
}

// take takes a call out of the bucket of an operation, or reports that the quota
// is used up, which takes nothing.
func (l *limiter) take(world, op string, now time.Time) bool {
	q, ok := l.quotas[op]
	if !ok || q.PerSecond == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := world + "/" + op
	b := l.buckets[key]
	if b == nil {
		b = &bucket{tokens: float64(q.Burst), at: now}
		l.buckets[key] = b
	}
	b.tokens = min(float64(q.Burst), b.tokens+now.Sub(b.at).Seconds()*q.PerSecond)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// throttled takes a call of an operation out of its quota and reports whether the
// quota was used up. Operations that do not go through perform or undergo ask it.
func (w *world) throttled(op string) bool {
	return !w.sim.limits.take(w.account.ID+"/"+w.region, op, time.Now())
}

// throttling is the answer to a call over the quota: status 400 and this code for
// every operation (API reference, errors of the operations, "The rate exceeds the
// limit"). Two operations answer it without naming it in the service model,
// CreateTopicRule and UpdateProvisioningTemplate.
func throttling() *apiError {
	return &apiError{code: "ThrottlingException", status: http.StatusBadRequest, message: "Rate exceeded"}
}
