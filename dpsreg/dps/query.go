package dps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"mintmark/dpsreg/rest"
)

// Bounds of a listing. A service has at most a million enrollments and a million
// registrations (https://learn.microsoft.com/azure/iot-dps/about-iot-dps).
const (
	pageSize  = 100
	pageBytes = 16 << 20 // twins can be large
	maxItems  = 2_000_000
	maxEmpty  = 1000 // pages without an item, one after the other
)

// query calls yield for each item of a listing, page by page. A page is one operation.
func (c *Client) query(ctx context.Context, text string, yield func(json.RawMessage) error, segments ...string) error {
	path, err := rest.Join(segments...)
	if err != nil {
		return err
	}
	var body any // registrations take none
	if text != "" {
		body = map[string]string{"query": text}
	}
	continuation, items, empty := "", 0, 0
	for {
		var page []json.RawMessage
		header := http.Header{"X-Ms-Max-Item-Count": {strconv.Itoa(pageSize)}}
		if continuation != "" {
			header.Set("X-Ms-Continuation", continuation)
		}
		answer, err := c.rest.Do(ctx, rest.Call{
			Method: http.MethodPost, Path: path, Header: header, Body: body, Into: &page, Limit: pageBytes, Read: true,
		})
		if err != nil {
			return err
		}
		for _, raw := range page {
			if err := yield(raw); err != nil {
				return err
			}
		}
		next := answer.Get("X-Ms-Continuation")
		if empty++; len(page) > 0 {
			empty = 0
		}
		switch items += len(page); {
		case next == "":
			return nil
		case next == continuation:
			return errors.New("the listing does not go on: the service repeats a page")
		case items > maxItems || empty > maxEmpty:
			return fmt.Errorf("the listing does not end after %d items", items)
		}
		continuation = next
	}
}
