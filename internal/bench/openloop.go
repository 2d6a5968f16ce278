package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// open lets requests come at a rate, whether those before were answered or not, at times that
// do not depend on each other (a Poisson process, the same in every run). How long one took
// counts from when it was due: that all connections were busy then is part of it.
func (f *fleet) open(ctx context.Context, clients int, rate float64, duration time.Duration) (result, error) {
	random := rand.New(rand.NewPCG(1, 2))
	var due []time.Duration
	for at := 0.0; at < duration.Seconds(); at += random.ExpFloat64() / rate {
		due = append(due, time.Duration(at*float64(time.Second)))
	}
	// A client that was lucky takes more than its share.
	bodies, err := f.requests(ctx, clients, 2*len(due)/clients+16)
	if err != nil {
		return result{}, err
	}
	connections := make([]*connection, clients)
	for i := range connections {
		if connections[i], err = f.dial(ctx, f.devices[i].tls); err != nil {
			return result{}, err
		}
		defer connections[i].Close()
	}
	var next atomic.Int64
	start := time.Now()
	r, err := measure(clients, func(i int, _ *atomic.Int64) (latencies []time.Duration, err error) {
		for _, body := range bodies[i] {
			n := int(next.Add(1)) - 1
			if n >= len(due) {
				return latencies, nil
			}
			scheduled := start.Add(due[n])
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Until(scheduled)):
			}
			answer, err := f.post(connections[i], body, "", true)
			if err != nil {
				return nil, err
			}
			latencies = append(latencies, time.Since(scheduled))
			if n%64 == 0 {
				if err := f.devices[i].check(body, answer); err != nil {
					return nil, err
				}
			}
		}
		return latencies, nil
	})
	if err == nil && r.count < len(due) {
		err = fmt.Errorf("the clients ran out of requests after %d of %d", r.count, len(due))
	}
	return r, err
}
