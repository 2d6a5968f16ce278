package server

import (
	"context"
	"fmt"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// machine moves the rotations of this server's CAs.
func (s *Server) machine() *rotation.Machine {
	var clouds []rotation.Cloud
	for _, target := range s.aws.list {
		clouds = append(clouds, awsCloud{s.aws, target.Name})
	}
	for _, target := range s.azure.list {
		clouds = append(clouds, azureCloud{s.azure, target.Name})
	}
	// Servers that share a database read its records every few seconds.
	settle := time.Duration(0)
	if s.config.Database.URL != "" {
		settle = 30 * time.Second
	}
	return rotation.New(rotation.World{
		Records: s.ledger, Authorities: served{s.ra.Rotations(), s}, Clouds: clouds, Fleet: rotationFleet{s},
		Officers: s.ledger.Principals, Now: s.ra.Now, Leases: s.ledger, Holder: s.config.Server, Settle: settle,
	})
}

// served are the authorities of a rotation; what goes by their records follows at once.
type served struct {
	rotation.Authorities
	s *Server
}

// Refresh implements rotation.Authorities.
func (a served) Refresh(ctx context.Context) error {
	if err := a.Authorities.Refresh(ctx); err != nil {
		return err
	}
	a.s.followRotations()
	return nil
}

// rotationFleet counts the devices of a rotation by the ledger.
type rotationFleet struct{ s *Server }

// Noted implements rotation.Fleet.
func (f rotationFleet) Noted(ctx context.Context) error {
	if running := f.s.followers.Load(); running != nil {
		return running.write(ctx)
	}
	return nil // no device is served
}

// Count implements rotation.Fleet.
func (f rotationFleet) Count(ctx context.Context, r ledger.Rotation) (map[ledger.AnchorClass]int, error) {
	query, err := rotation.AnchorQuery(r, f.s.ra.Now())
	if err != nil {
		return nil, err
	}
	counts, err := f.s.ledger.AnchorCount(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("counting the devices of rotation %s: %w", r.ID, err)
	}
	return counts, nil
}
