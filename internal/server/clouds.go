package server

import (
	"context"
	"slices"

	"mintmark/awsreg"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// tasks says whom to tell of a certificate.
func (s *Server) tasks(c ledger.Certificate) []ledger.Task {
	return slices.Concat(awsreg.TasksFor(s.aws.targets(), c), s.azure.devices.TasksFor(s.azure.targets(), c))
}

// wakeClouds has what was recorded told without delay.
func (s *Server) wakeClouds() {
	s.aws.Wake()
	s.azure.Wake()
}

// handover is what a certificate waits for that replaces one of its device; nothing if no
// target pins devices to certificates.
func (s *Server) handover() issuer.Handover {
	for _, t := range s.config.Azure.Targets {
		if len(t.Enrollments) > 0 {
			return issuer.Handover{
				Targets: func(c ledger.Certificate) []string { return s.azure.pinning(c) },
				Take: func(ctx context.Context, target string, c ledger.Certificate) error {
					return s.azure.handover(ctx, target, c)
				},
			}
		}
	}
	return issuer.Handover{}
}

// clouds is the outbox of the administrative API: what all clouds must be told. Azure
// knows no work orders, and of device lists nothing before a certificate is issued.
type clouds struct{ s *Server }

func (c clouds) ForOrder(id string) []ledger.Task { return c.s.aws.ForOrder(id) }

func (c clouds) ForDevice(id string) []ledger.Task {
	return slices.Concat(c.s.aws.ForDevice(id), c.s.azure.ForDevice(id))
}

func (c clouds) ForImport(id string) []ledger.Task { return c.s.aws.ForImport(id) }

func (c clouds) Wake() { c.s.wakeClouds() }
