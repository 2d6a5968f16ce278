package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mintmark/internal/ledger"
)

// The kinds that are not on the path of an enrollment are written by
// encoding/json, as one field content. The structs below are the format: what
// the ledger calls its fields may change, these may not. Fields without a value
// are left out, and times are in UTC, so that here, too, there is one spelling.

// digest is a SHA-256 in hexadecimal.
type digest [32]byte

// MarshalText implements encoding.TextMarshaler.
func (d digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *digest) UnmarshalText(text []byte) error { return unhex(d[:], string(text)) }

type importedContent struct {
	Serial        ledger.Serial  `json:"serial"`
	Issuer        string         `json:"issuer"`
	Profile       string         `json:"profile,omitempty"`
	Label         string         `json:"label,omitempty"`
	Purpose       ledger.Purpose `json:"purpose"`
	Device        string         `json:"device,omitempty"`
	Order         string         `json:"order,omitempty"`
	Subject       string         `json:"subject,omitempty"`
	RequesterKind string         `json:"requester_kind,omitempty"`
	Requester     string         `json:"requester,omitempty"`
	Address       netip.Addr     `json:"address,omitzero"`
	Key           digest         `json:"key"`
	NotBefore     time.Time      `json:"not_before"`
	NotAfter      time.Time      `json:"not_after"`
	State         ledger.State   `json:"state"`
	DER           []byte         `json:"der,omitempty"`
	IntentAt      time.Time      `json:"intent_at,omitzero"`
	IssuedAt      time.Time      `json:"issued_at,omitzero"`
	RevokedAt     time.Time      `json:"revoked_at,omitzero"`
	Reason        ledger.Reason  `json:"reason,omitempty"`
	RevokedBy     string         `json:"revoked_by,omitempty"`
	Shard         int            `json:"shard,omitempty"`
}

type crlContent struct {
	Issuer     string    `json:"issuer"`
	Shard      int       `json:"shard,omitempty"`
	Number     int64     `json:"number"`
	ThisUpdate time.Time `json:"this_update"`
	NextUpdate time.Time `json:"next_update"`
	SHA256     digest    `json:"sha256"`
}

type importContent struct {
	ID      string    `json:"id"`
	File    string    `json:"file,omitempty"`
	Actor   string    `json:"actor,omitempty"`
	At      time.Time `json:"at"`
	Update  bool      `json:"update,omitempty"`
	Server  string    `json:"server,omitempty"`
	Devices int       `json:"devices,omitempty"`
	New     int       `json:"new,omitempty"`
}

type listingContent struct {
	Import string       `json:"import"`
	Rows   []rowContent `json:"rows,omitempty"`
}

type rowContent struct {
	Row     int               `json:"row"`
	Device  string            `json:"device"`
	Order   string            `json:"order,omitempty"`
	Product string            `json:"product,omitempty"`
	Key     digest            `json:"key,omitzero"`
	Fields  map[string]string `json:"fields,omitempty"`
}

type deviceContent struct {
	Device string             `json:"device"`
	State  ledger.DeviceState `json:"state"`
	Actor  string             `json:"actor,omitempty"`
	Note   string             `json:"note,omitempty"`
	New    bool               `json:"new,omitempty"`
}

type orderContent struct {
	ID        string            `json:"id"`
	Product   string            `json:"product,omitempty"`
	Profile   string            `json:"profile,omitempty"`
	Label     string            `json:"label,omitempty"`
	Station   string            `json:"station,omitempty"`
	Quantity  int               `json:"quantity"`
	Ranges    []rangeContent    `json:"ranges,omitempty"`
	Listed    bool              `json:"listed,omitempty"`
	Networks  []netip.Prefix    `json:"networks,omitempty"`
	NotBefore time.Time         `json:"not_before,omitzero"`
	NotAfter  time.Time         `json:"not_after,omitzero"`
	Secret    digest            `json:"secret,omitzero"`
	State     ledger.OrderState `json:"state"`
	CreatedAt time.Time         `json:"created_at,omitzero"`
	CreatedBy string            `json:"created_by,omitempty"`
	ChangedAt time.Time         `json:"changed_at,omitzero"`
	ChangedBy string            `json:"changed_by,omitempty"`
	Taken     int               `json:"taken,omitempty"`
}

type rangeContent struct {
	First string `json:"first"`
	Last  string `json:"last"`
}

type principalContent struct {
	Name      string    `json:"name"`
	Roles     []string  `json:"roles,omitempty"`
	Key       []byte    `json:"key,omitempty"`
	UnixUser  string    `json:"unix_user,omitempty"`
	AddedAt   time.Time `json:"added_at,omitzero"`
	AddedBy   string    `json:"added_by,omitempty"`
	RemovedAt time.Time `json:"removed_at,omitzero"`
}

type approvalContent struct {
	ID        string               `json:"id"`
	Operation string               `json:"operation"`
	Words     string               `json:"words,omitempty"`
	Plan      []byte               `json:"plan,omitempty"`
	Proposer  string               `json:"proposer"`
	At        time.Time            `json:"at"`
	ExpiresAt time.Time            `json:"expires_at,omitzero"`
	State     ledger.ApprovalState `json:"state"`
	DecidedBy string               `json:"decided_by,omitempty"`
	DecidedAt time.Time            `json:"decided_at,omitzero"`
	Signature []byte               `json:"signature,omitempty"`
	RunBy     string               `json:"run_by,omitempty"`
	RunAt     time.Time            `json:"run_at,omitzero"`
	Outcome   string               `json:"outcome,omitempty"`
}

// appendContent appends the content of an event that has no fields of its own.
func appendContent(b []byte, e *ledger.Event) ([]byte, error) {
	content := contentOf(e)
	if content == nil {
		return b, fmt.Errorf("event of kind %q lacks its content or is of no known kind", e.Kind)
	}
	text, err := json.Marshal(content)
	if err == nil && bytes.Contains(text, []byte(`\ufffd`)) {
		// This is how it writes bytes that are not UTF-8, and not how it writes
		// what they are when they have been read.
		var again ledger.Event
		again.Kind = e.Kind
		if err = parseContent(&again, text); err == nil {
			text, err = json.Marshal(contentOf(&again))
		}
	}
	if err != nil {
		return b, fmt.Errorf("writing event of kind %q: %w", e.Kind, err)
	}
	b = append(b, `,"content":`...)
	return append(b, text...), nil
}

// contentOf is what is written of an event, nil if it is of no such kind.
func contentOf(e *ledger.Event) any {
	switch {
	case e.Kind == ledger.EventImported && e.Imported != nil:
		c := e.Imported
		return &importedContent{
			Serial: c.Serial, Issuer: c.Issuer, Profile: c.Profile, Label: c.Label, Purpose: c.Purpose, Device: c.Device,
			Order: c.Order, Subject: c.Subject, RequesterKind: c.Requester.Kind, Requester: c.Requester.Name, Address: c.Requester.Address,
			Key: c.Key, NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), State: c.State, DER: c.DER,
			IntentAt: c.IntentAt.UTC(), IssuedAt: c.IssuedAt.UTC(), RevokedAt: c.RevokedAt.UTC(), Reason: c.Reason, RevokedBy: c.RevokedBy,
			Shard: c.Shard,
		}
	case e.Kind == ledger.EventCRL && e.CRL != nil:
		c := e.CRL
		return &crlContent{Issuer: c.Issuer, Shard: c.Shard, Number: c.Number, ThisUpdate: c.ThisUpdate.UTC(), NextUpdate: c.NextUpdate.UTC(), SHA256: c.SHA256}
	case isImport(e.Kind) && e.Import != nil:
		i := e.Import
		return &importContent{
			ID: i.ID, File: i.File, Actor: i.Actor, At: i.At.UTC(), Update: i.Update, Server: i.Server, Devices: i.Devices, New: i.New,
		}
	case e.Kind == ledger.EventListing && e.Listing != nil:
		content := &listingContent{Import: e.Listing.Import}
		for _, r := range e.Listing.Rows {
			content.Rows = append(content.Rows, rowContent{
				Row: r.Row, Device: r.Device, Order: r.Order, Product: r.Product, Key: r.Key, Fields: r.Fields,
			})
		}
		return content
	case e.Kind == ledger.EventDevice && e.Device != nil:
		content := deviceContent(*e.Device)
		return &content
	case e.Kind == ledger.EventOrder && e.Order != nil:
		return orderToContent(e.Order)
	case e.Kind == ledger.EventPrincipal && e.Principal != nil:
		p := e.Principal
		return &principalContent{
			Name: p.Name, Roles: p.Roles, Key: p.Key, UnixUser: p.UnixUser, AddedAt: p.AddedAt.UTC(), AddedBy: p.AddedBy,
			RemovedAt: p.RemovedAt.UTC(),
		}
	case e.Kind == ledger.EventApproval && e.Approval != nil:
		content := approvalContent(*e.Approval)
		content.At, content.ExpiresAt = content.At.UTC(), content.ExpiresAt.UTC()
		content.DecidedAt, content.RunAt = content.DecidedAt.UTC(), content.RunAt.UTC()
		return &content
	case e.Kind == ledger.EventEnrollment && e.Enrollment != nil:
		return enrollmentToContent(e.Enrollment)
	case e.Kind == ledger.EventSecrets && len(e.Secrets) > 0:
		return secretsToContent(e.Secrets)
	case e.Kind == ledger.EventRollover && e.Rollover != nil:
		content := rolloverContent(*e.Rollover)
		content.At, content.EndedAt = content.At.UTC(), content.EndedAt.UTC()
		return &content
	case e.Kind == ledger.EventRotation && e.Rotation != nil:
		return rotationToContent(e.Rotation)
	case e.Kind == ledger.EventAnchors && e.Anchors != nil && len(e.Anchors.Notes) > 0:
		return anchorsToContent(e.Anchors)
	}
	return nil
}

func isImport(kind string) bool {
	return kind == ledger.EventImport || kind == ledger.EventListed || kind == ledger.EventUnlisted
}

func orderToContent(o *ledger.Order) *orderContent {
	content := &orderContent{
		ID: o.ID, Product: o.Product, Profile: o.Profile, Label: o.Label, Station: o.Station, Quantity: o.Quantity,
		Listed: o.Listed, Networks: o.Networks, NotBefore: o.NotBefore.UTC(), NotAfter: o.NotAfter.UTC(), Secret: o.Secret,
		State: o.State, CreatedAt: o.CreatedAt.UTC(), CreatedBy: o.CreatedBy, ChangedAt: o.ChangedAt.UTC(), ChangedBy: o.ChangedBy,
		Taken: o.Taken,
	}
	for _, r := range o.Ranges {
		content.Ranges = append(content.Ranges, rangeContent(r))
	}
	return content
}

// parseContent sets the content of an event of such a kind.
func parseContent(e *ledger.Event, text json.RawMessage) error {
	switch {
	case e.Kind == ledger.EventImported:
		var c importedContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		e.Imported = &ledger.Certificate{
			Serial: c.Serial, Issuer: c.Issuer, Profile: c.Profile, Label: c.Label, Purpose: c.Purpose, Device: c.Device,
			Order: c.Order, Subject: c.Subject, Requester: ledger.Requester{Kind: c.RequesterKind, Name: c.Requester, Address: c.Address},
			Key: c.Key, NotBefore: c.NotBefore, NotAfter: c.NotAfter, State: c.State, DER: c.DER,
			IntentAt: c.IntentAt, IssuedAt: c.IssuedAt, RevokedAt: c.RevokedAt, Reason: c.Reason, RevokedBy: c.RevokedBy,
			Shard: c.Shard,
		}
	case e.Kind == ledger.EventCRL:
		var c crlContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		e.CRL = &ledger.CRLIssued{Issuer: c.Issuer, Shard: c.Shard, Number: c.Number, ThisUpdate: c.ThisUpdate, NextUpdate: c.NextUpdate, SHA256: c.SHA256}
	case isImport(e.Kind):
		var c importContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		i := ledger.Import(c)
		e.Import = &i
	case e.Kind == ledger.EventListing:
		var c listingContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		e.Listing = &ledger.Listings{Import: c.Import}
		for _, r := range c.Rows {
			e.Listing.Rows = append(e.Listing.Rows, ledger.Listing{
				Row: r.Row, Device: r.Device, Order: r.Order, Product: r.Product, Key: r.Key, Fields: r.Fields,
			})
		}
	case e.Kind == ledger.EventDevice:
		var c deviceContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		d := ledger.DeviceChange(c)
		e.Device = &d
	case e.Kind == ledger.EventOrder:
		var c orderContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		e.Order = c.order()
	case e.Kind == ledger.EventPrincipal:
		var c principalContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		p := ledger.Principal(c)
		e.Principal = &p
	case e.Kind == ledger.EventApproval:
		var c approvalContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		a := ledger.Approval(c)
		e.Approval = &a
	case e.Kind == ledger.EventEnrollment:
		var c enrollmentContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		e.Enrollment = c.enrollment()
	case e.Kind == ledger.EventSecrets:
		var c secretsContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		if len(c.Secrets) == 0 {
			return errors.New("record lacks its secrets")
		}
		e.Secrets = c.secrets()
	case e.Kind == ledger.EventRollover:
		var c rolloverContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		r := ledger.Rollover(c)
		e.Rollover = &r
	case e.Kind == ledger.EventRotation:
		var c rotationContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		e.Rotation = c.change()
	case e.Kind == ledger.EventAnchors:
		var c anchorsContent
		if err := decodeContent(text, &c); err != nil {
			return err
		}
		if len(c.Notes) == 0 {
			return errors.New("record lacks its notes")
		}
		e.Anchors = c.anchors()
	default:
		return fmt.Errorf("record kind %q is not known", e.Kind)
	}
	return nil
}

func (c *orderContent) order() *ledger.Order {
	o := &ledger.Order{
		ID: c.ID, Product: c.Product, Profile: c.Profile, Label: c.Label, Station: c.Station, Quantity: c.Quantity,
		Listed: c.Listed, Networks: c.Networks, NotBefore: c.NotBefore, NotAfter: c.NotAfter, Secret: c.Secret,
		State: c.State, CreatedAt: c.CreatedAt, CreatedBy: c.CreatedBy, ChangedAt: c.ChangedAt, ChangedBy: c.ChangedBy,
		Taken: c.Taken,
	}
	for _, r := range c.Ranges {
		o.Ranges = append(o.Ranges, ledger.Range(r))
	}
	return o
}

// decodeContent decodes strictly. That it is written in the one way shows when
// the record is written again.
func decodeContent(text json.RawMessage, to any) error {
	if len(text) == 0 || text[0] != '{' {
		return errors.New("record lacks its content")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil {
		return fmt.Errorf("parsing content: %w", err)
	}
	return nil
}
