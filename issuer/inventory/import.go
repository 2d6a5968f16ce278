package inventory

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

// Store is the part of the ledger that an import writes: see ledger.Inventory.
type Store interface {
	OpenImport(ctx context.Context, i ledger.Import) error
	StageDevices(ctx context.Context, id string, rows []ledger.Listing) error
	CommitImport(ctx context.Context, id string, now time.Time, tasks ...ledger.Task) (ledger.Import, error)
	DropImport(ctx context.Context, id string) error
}

// chunk is how many rows are staged at once, as long as they measure less than
// chunkSize bytes.
const (
	chunk     = 1000
	chunkSize = 1 << 20
)

// maxErrors is how many wrong rows are told of; what follows is likely to be
// wrong in the same way.
const maxErrors = 20

// Options say what an import is. File, Actor, Server and Format must be set.
type Options struct {
	File   string // name of the file, for people
	Actor  string
	Server string
	Format Format
	// Update lets rows change what is listed already.
	Update bool
	// CheckOnly ends after the whole list was found well-formed.
	CheckOnly bool
	// Order and Product are those of rows that name none. A row that names
	// another order than Order is wrong.
	Order   string
	Product string
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Tasks are enqueued when the import with this ID comes into force; nil for
	// none.
	Tasks func(id string) []ledger.Task
}

// maxFile bounds the name of a file, in bytes: what file systems allow.
const maxFile = 255

// Valid says what is wrong with the texts of the options, or nil.
func (o Options) Valid() error {
	if o.Order != "" {
		if err := CheckOrder(o.Order); err != nil {
			return fmt.Errorf("order %q %w", shorten(o.Order), err)
		}
	}
	if err := checkWords(o.Product); err != nil {
		return fmt.Errorf("product %w", err)
	}
	if len(o.File) > maxFile {
		return fmt.Errorf("file has %d bytes; %d are allowed", len(o.File), maxFile)
	}
	if err := checkText(o.File); err != nil {
		return fmt.Errorf("file %w", err)
	}
	return nil
}

// The stages of an import.
const (
	Checking   = "checking"
	Importing  = "importing"
	Committing = "committing"
)

// Progress is how far an import has got.
type Progress struct {
	Stage string
	Rows  int // of this stage
	Total int // 0 while checking: not known yet
}

// ListError says which rows of a list are wrong: the first of them. Nothing
// was imported.
type ListError struct {
	Rows []*LineError
	More bool // there may be more: reading has stopped
}

func (e *ListError) Error() string {
	texts := make([]string, len(e.Rows))
	for i, row := range e.Rows {
		texts[i] = row.Error()
	}
	if e.More {
		texts = append(texts, "and perhaps more: reading stopped here")
	}
	return strings.Join(texts, "\n")
}

// Import imports a device list: all of its rows or none. The list is read
// twice, so that a wrong row costs nothing but reading: first it is checked as
// a whole, then staged in chunks and put in force. A list that is refused is a
// *ListError. Progress is called after each chunk and may be nil; it must not
// block for long, as devices of the list are locked for other imports meanwhile.
func Import(ctx context.Context, store Store, list io.ReadSeeker, options Options, progress func(Progress)) (ledger.Import, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if err := options.Valid(); err != nil {
		return ledger.Import{}, err
	}
	rows, err := check(ctx, list, options, progress)
	if err != nil {
		return ledger.Import{}, err
	}
	i := ledger.Import{
		ID: newID(), File: options.File, Actor: options.Actor, At: options.Now(),
		Update: options.Update, Server: options.Server,
	}
	if options.CheckOnly {
		i.ID, i.Devices = "", rows
		return i, nil
	}
	if _, err := list.Seek(0, io.SeekStart); err != nil {
		return ledger.Import{}, fmt.Errorf("reading the device list again: %w", err)
	}
	// A write whose wait was abandoned could come after the end of the import:
	// the ledger is asked without ctx, which is looked at between the chunks.
	asked, ctx := ctx, context.WithoutCancel(ctx)
	if err := store.OpenImport(ctx, i); err != nil {
		return ledger.Import{}, errors.Join(fmt.Errorf("opening the import: %w", err), drop(ctx, store, i.ID))
	}
	if err := stage(asked, store, i.ID, list, options, rows, progress); err != nil {
		return ledger.Import{}, errors.Join(err, drop(ctx, store, i.ID))
	}
	progress(Progress{Committing, rows, rows})
	var tasks []ledger.Task
	if options.Tasks != nil {
		tasks = options.Tasks(i.ID)
	}
	done, err := store.CommitImport(ctx, i.ID, options.Now(), tasks...)
	var row *ledger.RowError
	switch {
	case err == nil:
		return done, nil
	case errors.As(err, &row):
		return ledger.Import{}, errors.Join(refusedRow(row, 0), drop(ctx, store, i.ID))
	}
	// If it is in force all the same, there is nothing to drop.
	return ledger.Import{}, errors.Join(fmt.Errorf("putting the list in force (mintmark device list tells whether it is): %w", err), drop(ctx, store, i.ID))
}

// refusedRow is the error of a list for the one row that the ledger refused.
func refusedRow(row *ledger.RowError, line int) *ListError {
	return &ListError{Rows: []*LineError{{Row: row.Row, Line: line, Device: row.Device, Reason: row.Reason}}, More: true}
}

// check reads the whole list and counts its rows.
func check(ctx context.Context, list io.Reader, options Options, progress func(Progress)) (int, error) {
	refused := new(ListError)
	rows := 0
	reader, err := NewReader(list, options.Format)
	var line *LineError
	if errors.As(err, &line) {
		return 0, &ListError{Rows: []*LineError{line}}
	}
	for err == nil {
		_, err = next(reader, options)
		switch {
		case errors.As(err, &line):
			refused.Rows = append(refused.Rows, line)
			if refused.More = len(refused.Rows) == maxErrors; !refused.More {
				err = nil
			}
		case err == nil:
			if rows++; rows%chunk == 0 {
				progress(Progress{Stage: Checking, Rows: rows})
				err = givenUp(ctx)
			}
		}
	}
	switch {
	case len(refused.Rows) > 0:
		return 0, refused
	case !errors.Is(err, io.EOF):
		return 0, err
	}
	return rows, nil
}

// givenUp is the error of a caller that does not wait any more, or nil.
func givenUp(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the import was given up: %w", err)
	}
	return nil
}

// next reads a row and adds what the import says to it.
func next(reader *Reader, options Options) (ledger.Listing, error) {
	l, err := reader.Next()
	if err != nil {
		return l, err
	}
	if options.Order != "" && l.Order != "" && l.Order != options.Order {
		return l, &LineError{Row: reader.row, Line: reader.line, Device: l.Device,
			Reason: fmt.Sprintf("it names work order %q, but the list is imported for %q", l.Order, options.Order)}
	}
	l.Order, l.Product = cmp.Or(l.Order, options.Order), cmp.Or(l.Product, options.Product)
	return l, nil
}

// stage reads the checked list again and hands it to the ledger.
func stage(ctx context.Context, store Store, id string, list io.Reader, options Options, total int, progress func(Progress)) error {
	reader, err := NewReader(list, options.Format)
	if err != nil {
		return err
	}
	rows := make([]ledger.Listing, 0, chunk)
	at := make([]int, 0, chunk) // lines of rows
	size := 0
	for staged := 0; staged < total; {
		l, err := next(reader, options)
		if err != nil {
			return fmt.Errorf("the list has changed while it was read: %w", err)
		}
		rows, at, size = append(rows, l), append(at, reader.line), size+l.Size()
		if len(rows) < chunk && size < chunkSize && staged+len(rows) < total {
			continue
		}
		if err := givenUp(ctx); err != nil {
			return err
		}
		if err := store.StageDevices(context.WithoutCancel(ctx), id, rows); err != nil {
			var row *ledger.RowError
			if errors.As(err, &row) {
				i := slices.IndexFunc(rows, func(l ledger.Listing) bool { return l.Row == row.Row })
				if i < 0 {
					return refusedRow(row, 0)
				}
				return refusedRow(row, at[i])
			}
			return fmt.Errorf("staging rows %d to %d: %w", staged+1, staged+len(rows), err)
		}
		staged, rows, at, size = staged+len(rows), rows[:0], at[:0], 0
		progress(Progress{Importing, staged, total})
	}
	return nil
}

// drop leaves nothing of an import behind.
func drop(ctx context.Context, store Store, id string) error {
	if err := store.DropImport(ctx, id); err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("dropping import %s, which is not in force but keeps its devices from other imports until the server is started again: %w", id, err)
	}
	return nil
}

// newID names an import.
func newID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Open is the part of the ledger in which DropStale looks.
type Open interface {
	OpenImports(ctx context.Context) ([]ledger.Import, error)
	DropImport(ctx context.Context, id string) error
}

// DropStale drops the imports that an earlier run of the server left open, and
// returns how many there were. It must be called before the server takes
// imports.
func DropStale(ctx context.Context, store Open, server string) (int, error) {
	imports, err := store.OpenImports(ctx)
	if err != nil {
		return 0, fmt.Errorf("listing open imports: %w", err)
	}
	dropped := 0
	for _, i := range imports {
		if i.Server != server {
			continue
		}
		if err := store.DropImport(ctx, i.ID); err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return dropped, fmt.Errorf("dropping import %s of %s: %w", i.ID, i.File, err)
		}
		dropped++
	}
	return dropped, nil
}
