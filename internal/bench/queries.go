package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"mintmark/admin"
	"mintmark/internal/server"
)

// A question is one that the admin API answers by an index.
type question struct {
	name string
	ask  func(context.Context, *admin.Client) (found int, err error)
	none bool // nothing is to be found
}

// askedWarm is how often each question is asked again, with what it needs in the page cache.
const askedWarm = 5

// queryScale asks every question of a person about a large ledger, over the socket, and says
// which was slowest: with the page cache dropped, and then again. What the server itself keeps of
// the database, some megabytes, it has from the questions before.
func (r *run) queryScale(ctx context.Context, name string, f *filled) error {
	t, err := r.start(ctx, f.State)
	if err != nil {
		return err
	}
	defer t.stop()
	client, err := admin.Dial(filepath.Join(f.State, server.Socket))
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.Status(ctx); err != nil { // the connection
		return err
	}
	ask := func(q question) (time.Duration, error) {
		start := time.Now()
		found, err := q.ask(ctx, client)
		took := time.Since(start)
		if err == nil && (found == 0) != q.none {
			err = fmt.Errorf("%d were found", found)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", q.name, err)
		}
		return took, nil
	}
	var worst, worstWarm time.Duration
	var which, whichWarm string
	dropped := true
	fmt.Fprintf(r.Out, "\n%-44s %10s %10s\n", "question", "first ms", "again ms")
	for _, q := range questions(f) {
		dropped = dropCaches() && dropped
		first, err := ask(q)
		if err != nil {
			return err
		}
		again := time.Duration(0)
		for range askedWarm {
			one, err := ask(q)
			if err != nil {
				return err
			}
			again = max(again, one)
		}
		fmt.Fprintf(r.Out, "%-44s %10.2f %10.2f\n", q.name, millis(first), millis(again))
		if first > worst {
			worst, which = first, q.name
		}
		if again > worstWarm {
			worstWarm, whichWarm = again, q.name
		}
	}
	r.add(Figure{Name: name, Value: millis(max(worst, worstWarm)), Unit: "ms",
		note: fmt.Sprintf("%.2f ms at first: %s; %.2f ms asked again: %s; %s", millis(worst), which, millis(worstWarm), whichWarm, cold(dropped))})
	return t.stop()
}

// questions are what may be asked, as a page of 100 from the beginning and from the middle.
func questions(f *filled) []question {
	var list []question
	middle := f.Serials[len(f.Serials)/2]
	certificates := func(name string, q admin.Query, none bool) {
		ask := func(q admin.Query) func(context.Context, *admin.Client) (int, error) {
			return func(ctx context.Context, c *admin.Client) (int, error) {
				page, err := c.Certificates(ctx, q)
				return len(page.Certificates), err
			}
		}
		list = append(list, question{"certificates" + name, ask(q), none})
		if q.Device == "" && q.Key == "" && q.Requester != f.Serials[0] && q.Purpose != "server" && !none {
			q.After = middle
			list = append(list, question{"certificates" + name + ", a page in the middle", ask(q), false})
		}
	}
	soon := time.Now().AddDate(0, 1, 0)
	certificates("", admin.Query{}, false)
	certificates(" of a device", admin.Query{Device: f.Renewed}, false)
	certificates(" of a key", admin.Query{Key: f.Key}, false)
	certificates(" of an issuer", admin.Query{Issuer: "issuing"}, false)
	certificates(" of another issuer", admin.Query{Issuer: "root"}, false)
	list = list[:len(list)-1] // it has only a few
	certificates(" of a profile", admin.Query{Profile: "device"}, false)
	certificates(" of devices", admin.Query{Purpose: "device"}, false)
	certificates(" of servers", admin.Query{Purpose: "server"}, false)
	certificates(" that are valid", admin.Query{State: "valid"}, false)
	certificates(" that have expired", admin.Query{State: "expired"}, true)
	certificates(" that were revoked", admin.Query{State: "revoked"}, true)
	certificates(" that are open", admin.Query{State: "open"}, true)
	certificates(" that end soon", admin.Query{ExpiresBefore: soon}, true)
	certificates(" that end in twenty years", admin.Query{ExpiresBefore: time.Now().AddDate(20, 0, 0)}, false)
	certificates(" asked for by a certificate", admin.Query{Requester: f.Serials[0]}, false)
	certificates(" asked for by an order", admin.Query{Requester: lineOrder}, false)
	list = list[:len(list)-1] // the middle of the ledger is past the end of the order
	certificates(" under an order", admin.Query{Order: lineOrder}, false)
	list = list[:len(list)-1]
	certificates(" of a profile that are valid", admin.Query{Profile: "device", State: "valid"}, false)
	for _, serial := range []string{f.Serials[0], middle, f.Serials[len(f.Serials)-1]} {
		list = append(list, question{"certificate " + serial[:12], func(ctx context.Context, c *admin.Client) (int, error) {
			_, err := c.Certificate(ctx, serial)
			return 1, err
		}, false})
	}
	devices := func(name string, q admin.DeviceQuery) {
		list = append(list, question{"devices" + name, func(ctx context.Context, c *admin.Client) (int, error) {
			page, err := c.Devices(ctx, q)
			return len(page.Devices), err
		}, q.State != "" && q.State != "enrolled" || q.Order+q.Product+q.Import != ""})
	}
	half := fmt.Sprintf(lineName, f.Certificates/4)
	devices("", admin.DeviceQuery{})
	devices(", a page in the middle", admin.DeviceQuery{After: half})
	for _, state := range []string{"expected", "enrolled", "held", "retired"} {
		devices(" that are "+state, admin.DeviceQuery{State: state})
	}
	devices(" of an order", admin.DeviceQuery{Order: lineOrder})
	devices(" of a product", admin.DeviceQuery{Product: "pump"})
	devices(" of a list", admin.DeviceQuery{Import: "none"})
	devices(" by all of their name", admin.DeviceQuery{Text: half})
	devices(" by the beginning, some", admin.DeviceQuery{Text: half[:len(half)-2]})
	devices(" by the beginning, many", admin.DeviceQuery{Text: half[:3]})
	list = append(list,
		question{"a device", func(ctx context.Context, c *admin.Client) (int, error) {
			d, err := c.Device(ctx, f.Renewed)
			return d.Count, err
		}, false},
		question{"no device", func(ctx context.Context, c *admin.Client) (int, error) {
			_, err := c.Device(ctx, "nobody")
			var refused *admin.Error
			if errors.As(err, &refused) {
				err = nil
			}
			return 0, err
		}, true},
		question{"a work order", func(ctx context.Context, c *admin.Client) (int, error) {
			_, err := c.Order(ctx, lineOrder)
			return 1, err
		}, false},
		question{"work orders", func(ctx context.Context, c *admin.Client) (int, error) {
			page, err := c.Orders(ctx, admin.OrderQuery{})
			return len(page.Orders), err
		}, false},
		question{"refusals", func(ctx context.Context, c *admin.Client) (int, error) {
			page, err := c.Refusals(ctx, admin.RefusalQuery{Device: f.Renewed})
			return len(page.Refusals), err
		}, true},
		question{"requests that wait", func(ctx context.Context, c *admin.Client) (int, error) {
			page, err := c.Enrollments(ctx, admin.EnrollmentQuery{})
			return len(page.Enrollments), err
		}, true},
		question{"status", func(ctx context.Context, c *admin.Client) (int, error) {
			s, err := c.Status(ctx)
			return s.Authorities, err
		}, false})
	return list
}
