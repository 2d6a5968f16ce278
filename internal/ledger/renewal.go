package ledger

import (
	"context"
	"time"
)

// RenewalBucket counts, of the newest certificates in force of devices, those that
// reach a part of their life, or their end, in one span of time.
type RenewalBucket struct {
	From, To time.Time
	Renew    int // reach the share of their life at which a renewal is expected
	Expire   int // end
}

// RenewalQuery is what a curve is drawn over.
type RenewalQuery struct {
	Now time.Time
	// Share of its life after which a device is expected to renew, in percent; 66 if zero.
	Share int
	Width time.Duration // of one bucket
	Count int           // of buckets from Now on; at most 400
}

// Overdue counts devices by how much of the life of their newest certificate is over.
type Overdue struct {
	Devices int // with a certificate that was not revoked
	Past80  int // between 80 and 90 percent
	Past90  int // between 90 and 100 percent
	Past100 int // expired within the last year
}

// Renewals says when devices are expected to come back, and who has not.
type Renewals interface {
	// RenewalCurve counts the newest valid certificate of each device. It reads all of
	// them: for reports, not for every request.
	RenewalCurve(ctx context.Context, query RenewalQuery) ([]RenewalBucket, Overdue, error)
	// OverdueDevices lists the newest certificates of devices past a percentage (80, 90 or
	// 100) of its life, by name, after the given one: at 80 those past 90 and those that
	// expired within the last year, too. It reads all devices until it has as many: at most
	// 1000, 100 if limit is 0.
	OverdueDevices(ctx context.Context, now time.Time, percent int, after string, limit int) ([]Certificate, error)
	// RefusalsByRule counts the refusals since a time by their rule.
	RefusalsByRule(ctx context.Context, since time.Time) (map[string]int, error)
}
