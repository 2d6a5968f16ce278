// Package ledger says what mintmark remembers and when it may rely on it.
//
// It holds the records and the durability contract; the SQL lives in
// ledger/sqldb and the conformance suite that every back end passes in
// ledger/ledgertest. The interface takes and returns values: no transaction
// ever reaches a caller, so that a back end is free to let many requests share
// one.
package ledger

import (
	"context"
	"time"
)

// Ledger is one back end, opened by one server.
//
// All methods may be called concurrently. A method that writes returns only
// after what it wrote is durable (fsync has returned), and cancelling its
// context abandons the wait, not the write. An error that is not one of this
// package's sentinels means that the outcome is unknown to the caller: nothing
// may be answered on the strength of it.
type Ledger interface {
	Issuance
	Certificates
	Inventory
	Orders
	Enrollments
	Secrets
	Refusals
	Revocations
	Hierarchy
	Rotations
	Renewals
	Principals
	Leases
	Outbox

	// Health reports why the ledger refuses to write, or nil. It does not
	// block on the disk.
	Health() error

	// Close waits for the writes in flight and releases the store.
	Close() error
}

// Issuance is the part of the ledger that the issuance cycle writes.
type Issuance interface {
	// Announce tells the ledger that a request has begun which will call Begin
	// and Finish. A group commit closes as soon as every announced request
	// waits in it, instead of waiting for its timer. The returned function
	// ends the announcement and must be called exactly once.
	Announce() (done func())

	// Begin records intents: step 6 of the issuance cycle. The result has one
	// entry an intent: nil, *PriorError, *CloneError, *SharedKeyError,
	// *DeviceError, *OrderError, *EnrollmentError, *SecretError, ErrInFlight,
	// ErrRevoked or ErrTaken; one intent's refusal never fails another's. An intent for a device under a
	// work order takes one unit of the order's quota in the same transaction; a
	// void intent gives it back, and *PriorError costs none. The same holds for
	// the approval and the one-time secret that it takes. The second result
	// fails the whole call, and then no intent of it may be signed. ErrLapsed if
	// the epoch is not in force. Whoever leaves before the answer must not sign
	// either: the ledger voids what it has recorded for nobody.
	Begin(ctx context.Context, intents []Intent) ([]error, error)

	// Finish records signed certificates with their outbox tasks: step 9.
	// Entries are nil or ErrVoided; a certificate whose entry is not nil must
	// not leave.
	Finish(ctx context.Context, issued []Issued) ([]error, error)

	// Join opens a new epoch for the named server, which lapses the server's
	// earlier ones. The epoch is in force for ttl and longer if extended.
	Join(ctx context.Context, server string, now time.Time, ttl time.Duration) (Epoch, error)

	// Extend keeps the epoch in force until now+ttl. ErrLapsed if it is not in
	// force any more: the server must Join again.
	Extend(ctx context.Context, epoch Epoch, now time.Time, ttl time.Duration) error

	// Void gives up an intent of the caller's own epoch: nothing was signed,
	// or what was signed is thrown away. A void serial goes on the next CRL.
	// Voiding again is no error; ErrIssued is for a serial with a
	// certificate, ErrNotFound for one that was never recorded.
	Void(ctx context.Context, serial Serial, now time.Time) error

	// VoidLapsed voids the open intents of epochs that are no longer in force
	// and returns how many there were.
	VoidLapsed(ctx context.Context, now time.Time) (int, error)
}

// Certificates finds what was recorded.
type Certificates interface {
	// Certificate returns ErrNotFound for a serial that was never recorded.
	Certificate(ctx context.Context, serial Serial) (Certificate, error)

	// Certificates lists in the order of serial numbers, which is the order of
	// issuance to within seconds.
	Certificates(ctx context.Context, query Query) (Page, error)

	// ImportCertificates records certificates that were issued elsewhere before
	// mintmark, as valid and asked for by the actor. Entries are nil, also for
	// one that is recorded with the same bytes, or ErrTaken.
	ImportCertificates(ctx context.Context, certificates []Certificate, actor string, now time.Time) ([]error, error)
}

// Revocations is the part that revocation and the CRLs write and read.
type Revocations interface {
	// Revoke revokes what the selector names and returns the serials that
	// changed state; already revoked ones are left alone. Tasks are enqueued
	// in the same transaction, one call of tasks per certificate; tasks may be
	// nil and must not call the ledger. The open intents that a revoked
	// certificate asked for are voided. ErrNotFound if nothing matches;
	// *TooManyError, and nothing is revoked, if more would change state than
	// the selector allows.
	Revoke(ctx context.Context, selector Selector, reason Reason, actor string, now time.Time, tasks func(Certificate) []Task) ([]Serial, error)

	// NextCRL takes the next CRL number of the issuer's shard and lists what that CRL
	// must hold: revoked and void serials of the issuer and shard that have not been
	// expired for longer than one CRL period. Numbers only rise, also across restores:
	// a number is never less than the Unix time at which it was taken.
	// ErrLapsed if the fence is not in force.
	NextCRL(ctx context.Context, fence Fence, issuer string, shard int, now time.Time, period time.Duration) (CRLWork, error)

	// PutCRL stores a signed CRL. ErrLapsed if the fence is not in force;
	// ErrOldCRL if its number is not higher than the stored one.
	PutCRL(ctx context.Context, fence Fence, crl CRL) error

	// LatestCRL returns ErrNotFound if the issuer's shard has none yet.
	LatestCRL(ctx context.Context, issuer string, shard int) (CRL, error)

	// CRLs lists every CRL that there is, without its DER, and every one of which only a
	// number was taken or a revocation is due, with number zero.
	CRLs(ctx context.Context) ([]CRL, error)

	// RevocationsSince counts, per issuer and shard, the revocations and voidings that
	// the stored CRL does not show.
	RevocationsSince(ctx context.Context) (map[CRLName]int, error)

	// ChangedSince lists serials that were revoked, or voided, after a position, in the
	// order in which they were committed, and the position after them; an empty position
	// lists none and says where the ledger stands. It is for who keeps answers about
	// certificates: what it lists is to be looked up again. At most 1000 are listed, 100
	// if limit is 0; none and the same position if nothing has changed. ErrStale for a position
	// that the ledger has not reached, as after a restore: everything is to be looked up again,
	// from an empty position on.
	ChangedSince(ctx context.Context, position string, limit int) (serials []Serial, next string, err error)
}

// Hierarchy holds the certification authorities.
type Hierarchy interface {
	// PutAuthority inserts or replaces the record of that name.
	PutAuthority(ctx context.Context, authority Authority) error
	// Authorities lists all, in the order of their creation.
	Authorities(ctx context.Context) ([]Authority, error)
	// PutRollover inserts or replaces the record of that old and new root.
	PutRollover(ctx context.Context, rollover Rollover) error
	// Rollovers lists all, in the order in which they began.
	Rollovers(ctx context.Context) ([]Rollover, error)
}

// Leases give one server at a time the right to run a job.
type Leases interface {
	// Acquire takes or extends the lease of a job for the holder, until
	// now+ttl. ErrBusy if another holder's lease is in force. The fence's
	// token rises with every change of holder, and writes that carry an older
	// token are refused.
	Acquire(ctx context.Context, job, holder string, now time.Time, ttl time.Duration) (Fence, error)
}

// Outbox holds what must be told to the outside until it has been told.
type Outbox interface {
	// Due lists tasks of a kind whose time has come, oldest first.
	Due(ctx context.Context, kind string, now time.Time, limit int) ([]Task, error)
	// Done removes tasks that were delivered.
	Done(ctx context.Context, ids []int64) error
	// Retry postpones a task and records why.
	Retry(ctx context.Context, id int64, at time.Time, cause string) error
	// Tasks lists the undelivered tasks of a key, whatever their kind: at most 1000, the
	// oldest first.
	Tasks(ctx context.Context, key string) ([]Task, error)
	// Backlog counts undelivered tasks by kind.
	Backlog(ctx context.Context) (map[string]int, error)
}
