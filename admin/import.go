package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// MaxList bounds a device list, in bytes.
const MaxList = 2 << 30

// The media types of device lists.
const (
	MediaCSV    = "text/csv"
	MediaNDJSON = "application/x-ndjson"
)

// ListImport says how a device list is imported.
type ListImport struct {
	// Media is MediaCSV or MediaNDJSON.
	Media string
	// File is its name, for people.
	File string
	// Update lets rows change what is listed already.
	Update bool
	// Check reads the list without importing it.
	Check bool
	// Order and Product are those of rows that name none.
	Order   string
	Product string
}

func (i ListImport) values() url.Values {
	v := make(url.Values)
	for name, value := range map[string]string{"file": i.File, "order": i.Order, "product": i.Product} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, value := range map[string]bool{"update": i.Update, "check": i.Check} {
		if value {
			v.Set(name, strconv.FormatBool(value))
		}
	}
	return v
}

// Stages of an import.
const (
	StageChecking   = "checking"   // the whole list is read; nothing is recorded
	StageImporting  = "importing"  // rows are recorded, not in force yet
	StageCommitting = "committing" // they are put in force
)

// ListProgress is how far an import has got.
type ListProgress struct {
	Stage string `json:"stage"`
	Rows  int    `json:"rows"`
	// Total is 0 while the list is checked for the first time.
	Total int `json:"total,omitempty"`
}

// ListImported is an import that is in force, or with Check one that could be.
type ListImported struct {
	ID      string `json:"id,omitempty"` // left out after a check
	File    string `json:"file,omitempty"`
	Devices int    `json:"devices"` // rows
	New     int    `json:"new"`     // devices that were not listed before
	Known   int    `json:"known"`   // devices that were
}

// WrongRow is a row for which a list is refused.
type WrongRow struct {
	Row    int    `json:"row"` // from 1; 0 is the header
	Line   int    `json:"line,omitempty"`
	Device string `json:"device,omitempty"`
	Text   string `json:"text"`
}

// ListLine is one line of the answer to an import. The last one is Done, or
// Error with the rows that are wrong: the first of them, if there are many.
type ListLine struct {
	Progress *ListProgress `json:"progress,omitempty"`
	Done     *ListImported `json:"done,omitempty"`
	Error    *Error        `json:"error,omitempty"`
	Rows     []WrongRow    `json:"rows,omitempty"`
}

// ImportDevices imports a device list: all of its rows or none. Progress is
// called now and then, and may be nil. A list that is refused is an *Error
// whose text names the rows.
func (c *Client) ImportDevices(ctx context.Context, list io.Reader, i ListImport, progress func(ListProgress)) (ListImported, error) {
	answer, err := c.upload(ctx, "/v1/devices/imports", i.values(), i.Media, list)
	if err != nil {
		return ListImported{}, err
	}
	defer answer.Body.Close()
	decoder := json.NewDecoder(answer.Body)
	for {
		var line ListLine
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return ListImported{}, errors.New("the server's answer was cut off: nothing of the list is in force unless mintmark device list shows it")
		} else if err != nil {
			return ListImported{}, fmt.Errorf("reading the server's answer: %w", err)
		}
		switch {
		case line.Done != nil:
			return *line.Done, nil
		case line.Error != nil:
			line.Error.Status = http.StatusConflict
			if line.Error.Rule == Internal || line.Error.Rule == "ledger" {
				line.Error.Status = http.StatusServiceUnavailable
			}
			return ListImported{}, line.Error
		case line.Progress != nil && progress != nil:
			progress(*line.Progress)
		}
	}
}

// upload posts a file and returns an answer of success; its body must be
// closed.
func (c *Client) upload(ctx context.Context, path string, query url.Values, media string, body io.Reader) (*http.Response, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", media)
	return c.do(r)
}
