package adminhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"mintmark/admin"
	"mintmark/internal/ledger"
	"mintmark/issuer/inventory"
)

// The routes that take files, and not JSON of at most admin.MaxRequest.
const (
	importList   = "POST /v1/devices/imports"
	importBundle = "POST /v1/certificates/import"
)

const (
	// uploadTime bounds how long a file may take to arrive.
	uploadTime = time.Hour
	// lineTime bounds how long a line of the answer may take to leave: an
	// import does not wait for a caller that does not read.
	lineTime = time.Minute
)

// maxBody bounds the body of a request.
func maxBody(r *http.Request) int64 {
	switch r.Pattern {
	case importList:
		return admin.MaxList
	case importBundle:
		return admin.MaxBundle
	case batchCertificates:
		return admin.MaxBatch
	case batchManifest:
		return admin.MaxManifest
	case unlockToken:
		return admin.MaxUnlock
	}
	return admin.MaxRequest
}

// mediaType is that of the body, without parameters.
func mediaType(r *http.Request) string {
	name, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return name
}

var listFormats = map[string]inventory.Format{admin.MediaCSV: inventory.CSV, admin.MediaNDJSON: inventory.NDJSON}

// importDevices streams: once the list has arrived, an error is the last line.
func (h *handler) importDevices(w http.ResponseWriter, r *http.Request) error {
	format, ok := listFormats[mediaType(r)]
	if !ok {
		return fail(http.StatusUnsupportedMediaType, "content-type", "the body must be %s or %s", admin.MediaCSV, admin.MediaNDJSON)
	}
	p := query(r, "file", "update", "check", "order", "product")
	options := inventory.Options{
		File: p.text("file"), Actor: actor(r), Server: h.RA.Server, Format: format,
		Update: p.oneOf("update", "true", "false") == "true", CheckOnly: p.oneOf("check", "true", "false") == "true",
		Order: p.text("order"), Product: p.text("product"), Now: h.RA.Now, Tasks: h.Outbox.ForImport,
	}
	if p.err != nil {
		return p.err
	}
	if err := options.Valid(); err != nil {
		return fail(http.StatusBadRequest, "query", "%v", err)
	}
	var stream *lines
	last, err := h.importOne(w, r, options, func(line admin.ListLine) {
		if stream == nil {
			w.Header().Set("Content-Type", "application/x-ndjson")
			stream = &lines{encoder: json.NewEncoder(w), flush: http.NewResponseController(w)}
		}
		stream.send(line)
	})
	if stream == nil {
		return err // nothing was begun
	}
	// Whoever has read the last line may send the next list.
	stream.send(last)
	return errors.Join(err, stream.err)
}

// importOne imports one list, and no other beside it. It sends how far it is,
// and returns the last line of the answer.
func (h *handler) importOne(w http.ResponseWriter, r *http.Request, options inventory.Options, send func(admin.ListLine)) (admin.ListLine, error) {
	if !h.importing.TryLock() {
		return admin.ListLine{}, fail(http.StatusConflict, "import-busy", "this server imports another device list at the moment: wait until that is done")
	}
	defer h.importing.Unlock()
	list, err := h.spool(w, r)
	if err != nil {
		return admin.ListLine{}, err
	}
	defer list.Close()
	send(admin.ListLine{Progress: &admin.ListProgress{Stage: admin.StageChecking}})
	done, err := inventory.Import(r.Context(), h.Ledger, list, options, func(p inventory.Progress) {
		send(admin.ListLine{Progress: &admin.ListProgress{Stage: p.Stage, Rows: p.Rows, Total: p.Total}})
	})
	if err != nil {
		line := wireListError(err)
		line.Error.RequestID = w.Header().Get("X-Request-Id")
		return line, err
	}
	if !options.CheckOnly {
		h.Outbox.Wake()
		h.Logger.Info("device list imported", "import", done.ID, "file", done.File, "devices", done.Devices, "new", done.New, "actor", done.Actor)
	}
	return admin.ListLine{Done: wireImport(done, options.CheckOnly)}, nil
}

// spool keeps the body in a file without a name, which is gone when it is
// closed or the process ends.
func (h *handler) spool(w http.ResponseWriter, r *http.Request) (*os.File, error) {
	if h.Spool != "" {
		if err := os.MkdirAll(h.Spool, 0o700); err != nil {
			return nil, shown(fmt.Errorf("making the directory for device lists: %w", err))
		}
	}
	f, err := os.CreateTemp(h.Spool, "import-*")
	if err != nil {
		return nil, shown(fmt.Errorf("keeping the device list: %w", err))
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(shown(fmt.Errorf("keeping the device list: %w", err)), f.Close())
	}
	// The server's own deadline is for requests of a second. Not every
	// connection has one: inside this process there is none to set.
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(uploadTime))
	if _, err := io.Copy(f, r.Body); err != nil {
		f.Close()
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, err
		}
		return nil, shown(fmt.Errorf("receiving the device list: %w", err))
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(shown(fmt.Errorf("reading the device list: %w", err)), f.Close())
	}
	return f, nil
}

// wireListError is the last line of an import that failed. What is wrong with
// rows is for the caller, and so are the errors of files; the ledger's are not.
func wireListError(err error) admin.ListLine {
	var list *inventory.ListError
	if !errors.As(err, &list) {
		_, told := describe(err)
		return admin.ListLine{Error: &told}
	}
	line := admin.ListLine{Error: &admin.Error{Rule: "device-list", Text: "nothing was imported:\n" + list.Error()}}
	for _, row := range list.Rows {
		line.Rows = append(line.Rows, admin.WrongRow{Row: row.Row, Line: row.Line, Device: row.Device, Text: row.Reason})
	}
	return line
}

func wireImport(i ledger.Import, checked bool) *admin.ListImported {
	out := &admin.ListImported{ID: i.ID, File: i.File, Devices: i.Devices, New: i.New}
	if !checked {
		out.Known = i.Devices - i.New
	}
	return out
}

// lines writes one line of an import's answer after the other, each at once.
type lines struct {
	encoder *json.Encoder
	flush   *http.ResponseController
	err     error
}

func (s *lines) send(line admin.ListLine) {
	if s.err != nil {
		return
	}
	// Over HTTP/2 a deadline that passes between two lines ends the stream, too.
	s.flush.SetWriteDeadline(time.Now().Add(lineTime))
	defer s.flush.SetWriteDeadline(time.Time{})
	if s.err = s.encoder.Encode(line); s.err == nil {
		s.err = s.flush.Flush()
	}
}
