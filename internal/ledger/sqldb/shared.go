package sqldb

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Several servers write to one PostgreSQL database, each with a committer of
// its own. What follows holds under READ COMMITTED, where a statement sees what
// was committed before it began, and under SERIALIZABLE, where the database
// refuses what would not have come out so one after the other, with SQLSTATE
// 40001; such a transaction is run again. REPEATABLE READ is refused at the
// start: there, whoever waits for a lock goes on seeing what was before it.
//
// An op says in its field locks what it decides about. Before the ops of a
// batch run, the committer locks the rows of the table locks that stand for
// these names, all in one statement and in ascending order, so that two batches
// never wait for each other in a circle. The rows are made by the migration: a
// row that is not there cannot be locked. Two names may share a row, which
// costs a wait and nothing else. With SQLite there is one committer and nothing
// to lock.
//
// Pair by pair, on two servers:
//
//   - Begin and Begin for the same device, key or work order lock "device:ID",
//     "key:HEX" and "order:ID". The second one sees the open intent or the
//     certificate of the first. An open intent counts as long as its epoch is
//     in force; one whose epoch has lapsed is voided by whoever meets it, so
//     that its server, should it still run, cannot finish it.
//   - Begin and Join, or Extend, of the same server: Begin reads its epoch FOR
//     SHARE, so that a Join waits for it and it waits for a Join.
//   - Begin and Revoke of the requester's certificate: Begin reads the
//     certificate FOR SHARE, those of a batch in the order of serial numbers, Revoke reads it FOR UPDATE. Either Begin sees that
//     it is revoked, or Revoke sees the open intent and voids it.
//   - Begin and whatever holds or retires a device, changes a work order or
//     imports a certificate: the same locks.
//   - Whatever stages, commits or drops a device list locks "imports". Issuance
//     does not: a device is listed from the moment that the import's row says so.
//   - QueueEnrollment and DecideEnrollment lock key and device of the entry, as
//     Begin does that takes it; PutSecrets and DropSecret lock the devices. Only
//     Void gives back without these locks: it changes the row that still has its serial
//     number, and to whoever reads before it that one is not void yet.
//     QueueEnrollment locks "enrollments", too, for it counts those that wait.
//   - PutPrincipal locks "principals", PutRollover "rollovers", MoveApproval "approval:ID".
//   - Finish, Void and VoidLapsed of one serial: each is an UPDATE of the row
//     while it is open, of which one changes it.
//   - Finish and Revoke of a device: a certificate that is recorded before
//     Revoke has read is revoked, one after is not, as with one server. Revoke
//     locks the row of the device before it looks for its newest certificate.
//   - Revoke and Revoke: the rows are read FOR UPDATE in the order of serial
//     numbers; the second finds them revoked.
//   - Acquire, NextCRL and PutCRL lock "job:NAME": a fence that was checked
//     holds until the commit. They lock "crl:ISSUER" or "crl:ISSUER:SHARD", too.
//   - NextCRL and Revoke or Void: both change the row of issuer and shard in shard_crls, and
//     NextCRL lists after it has committed. What it counts, the list shows.
//   - Whatever revokes or voids numbers its lines in changes by a counter whose row it
//     changes last of all, so that no two batches wait for each other there: see changes.go.
//   - PutRotation locks "rotations", NoteAnchors "anchors:ID".
//   - Tasks with the same key from two servers may both stay. The keys are
//     those of one certificate, whose row both have changed, so that the second
//     sees and replaces the first.
//
// Rows are also locked by being changed, in the order in which the ops come:
// the row of an issuer in shard_crls, of a device, of a work order. There two batches
// can meet in a circle. The database ends one of them (40P01), and it is run
// again.

const sqlLock = `SELECT slot FROM locks WHERE slot = ANY($1) ORDER BY slot FOR UPDATE`

// lock takes the locks of the ops of a batch.
func (t *tx) lock(ops []*op) error {
	if !t.shared {
		return nil
	}
	wanted := slotsOf(ops)
	if len(wanted) == 0 {
		return nil
	}
	n, err := t.writer.exec(sqlLock, wanted)
	if err != nil {
		return fmt.Errorf("locking: %w", err)
	}
	if n != int64(len(wanted)) {
		return fmt.Errorf("locking: the table locks has %d rows of %d", n, len(wanted))
	}
	return nil
}

// mostTries is how often a transaction is run that others are in the way of.
const mostTries = 20

// A crowdedError gives up a transaction that others were in the way of too
// often. Nothing of it is in the database.
type crowdedError struct {
	tries int
	err   error
}

func (e *crowdedError) Error() string {
	return fmt.Sprintf("other servers were in the way, %d times: %v", e.tries, e.err)
}

func (e *crowdedError) Unwrap() error { return e.err }

// pause waits before a transaction is run again: longer each time, up to a
// quarter of a second, and never as long as the other server.
func (s *Store) pause(tries int) {
	timer := time.NewTimer(rand.N(min(time.Millisecond<<tries, 250*time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.closing:
	}
}
