package issuer

import "context"

// Tick is what Keep does every few seconds.
func (ra *RA) Tick(ctx context.Context) { ra.tick(ctx) }
