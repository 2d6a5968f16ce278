package server

import (
	"context"
	"time"
)

const (
	// packEvery is how often full files of the issuance log are looked for.
	packEvery = 10 * time.Minute
	// packRate is how many bytes of them are read a second, thrice as many as a core
	// that issues without a pause writes. It takes a twentieth of one.
	packRate = 8 << 20
)

// packLog packs the full files of the issuance log until ctx ends.
func (s *Server) packLog(ctx context.Context) {
	ticker := time.NewTicker(packEvery)
	defer ticker.Stop()
	for {
		if err := s.issuance.Pack(ctx, packRate); err != nil && ctx.Err() == nil {
			s.log.Warn("a full file of the issuance log stays as large as it is", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
