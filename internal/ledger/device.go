package ledger

import (
	"context"
	"fmt"
	"time"
)

// DeviceState is where a device stands.
type DeviceState string

const (
	// Expected: without a certificate of its own yet. It is listed in the
	// inventory, or a gateway of which only the CA certificate is here, or it was
	// held while nothing was known of it (HoldUnknown) and released.
	Expected DeviceState = "expected"
	// Enrolled: it has got at least one certificate.
	Enrolled DeviceState = "enrolled"
	// Held: it gets no certificate until it is released. Those that it has
	// stay valid.
	Held DeviceState = "held"
	// Retired: it gets no certificate any more.
	Retired DeviceState = "retired"
)

// Device is one device: what the inventory says of it and what its
// certificates show.
type Device struct {
	ID    string
	State DeviceState

	// Listed is set when the inventory has the device; the fields up to
	// ListedAt are then what the list said.
	Listed   bool
	Import   string // the import that listed it
	Order    string // the work order that it is made under, empty for none
	Product  string
	Key      [32]byte          // SHA-256 of the SubjectPublicKeyInfo that it must have; zero for any
	Fields   map[string]string // whatever else the list had: batch, MAC address, ...
	ListedAt time.Time

	// Who held, released or retired it, when and why; zero if nobody did.
	ChangedAt time.Time
	ChangedBy string
	Note      string

	FirstSeen time.Time // first certificate, of whatever purpose; zero for none
	// Of purpose ForDevice only: what a gateway signs with does not stand for it.
	// Whatever holds, retires or revokes a device takes all its certificates.
	LastIssued   time.Time
	Certificates int    // recorded with a certificate, revoked ones included
	Current      Serial // the newest valid one, empty for none
}

// Listing is one row of a device list.
type Listing struct {
	Row     int // in the file, from 1; for errors
	Device  string
	Order   string
	Product string
	Key     [32]byte
	Fields  map[string]string
}

// Size is the length of all its texts in bytes.
func (l Listing) Size() int {
	size := len(l.Device) + len(l.Order) + len(l.Product)
	for name, value := range l.Fields {
		size += len(name) + len(value)
	}
	return size
}

// Import is the run that lists devices: all of its rows or none.
type Import struct {
	ID      string
	File    string // name of the file, for people
	Actor   string
	At      time.Time
	Update  bool // rows may change what is listed already
	Server  string
	Devices int // set by CommitImport: rows
	New     int // set by CommitImport: devices that were not listed before
}

// RowError refuses a device list for one of its rows.
type RowError struct {
	Row    int
	Device string
	Reason string
}

func (e *RowError) Error() string {
	return fmt.Sprintf("row %d: device %q: %s", e.Row, e.Device, e.Reason)
}

// DeviceError refuses an intent for what is known of its device.
type DeviceError struct {
	Device string
	// Why is unlisted, held, retired, key (the list names another public key)
	// or order (the list names another work order).
	Why string
}

func (e *DeviceError) Error() string { return fmt.Sprintf("device %q: %s", e.Device, e.Why) }

// SharedKeyError says that the public key has a certificate for another device.
type SharedKeyError struct {
	Device string // the other device
	Serial Serial
}

func (e *SharedKeyError) Error() string {
	return fmt.Sprintf("certificate %s of device %q holds the same public key", e.Serial, e.Device)
}

// DeviceQuery selects devices; zero fields do not restrict.
type DeviceQuery struct {
	State   DeviceState
	Order   string
	Product string
	Import  string
	// Text finds devices by the beginning of their identifier or of the value
	// of any field.
	Text  string
	After string // keyset: only identifiers greater than this one
	Limit int    // at most 1000; 0 means 100
}

// Inventory is the part that knows which devices are expected.
type Inventory interface {
	// Device returns ErrNotFound for a device that is neither listed nor has a
	// certificate, nor was ever held.
	Device(ctx context.Context, id string) (Device, error)

	// Devices lists in the order of identifiers.
	Devices(ctx context.Context, query DeviceQuery) ([]Device, error)

	// OpenImport begins an import. Nothing of it counts before CommitImport:
	// no device of it is found, expected or admitted. ErrTaken for a known ID.
	OpenImport(ctx context.Context, i Import) error

	// StageDevices adds at most 1000 rows and 2 MiB to an open import, all or none;
	// *RowError if a device is in it already or in another open one, if a row
	// says something else than what is listed and the import may not update, or
	// if one that may has more changes than fit into one transaction. Rows that
	// say the same count as known. ErrNotFound without such an open import.
	StageDevices(ctx context.Context, id string, rows []Listing) error

	// CommitImport puts an import in force in one transaction, which does not
	// grow with the number of new devices; what else there is to do is done
	// before, while issuance goes on. From then on the import takes no more
	// rows. ErrNotFound without such an open import.
	CommitImport(ctx context.Context, id string, now time.Time, tasks ...Task) (Import, error)

	// DropImport ends an import and removes its rows, in many transactions.
	// Dropping one that is not open is ErrNotFound; one that was cut off while
	// it was being dropped can be dropped again.
	DropImport(ctx context.Context, id string) error

	// OpenImports lists the imports that are neither committed nor dropped.
	OpenImports(ctx context.Context) ([]Import, error)

	// HoldDevice holds, retires or, with Expected, releases a device. The open
	// intents of a device that is held or retired are voided. Tasks are enqueued in
	// the same transaction, here as in CommitImport. ErrNotFound for an unknown one.
	HoldDevice(ctx context.Context, id string, state DeviceState, actor, note string, now time.Time, tasks ...Task) (Device, error)

	// HoldUnknown holds or retires a device as HoldDevice does, and records one of
	// which nothing is known: not listed, without a certificate. A cloud may have
	// let it in and issued what it has.
	HoldUnknown(ctx context.Context, id string, state DeviceState, actor, note string, now time.Time, tasks ...Task) (Device, error)
}
