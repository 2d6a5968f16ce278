package main

import (
	"context"
	"errors"
	"net/http"

	"mintmark/admin"
	"mintmark/internal/ledger"
	"mintmark/internal/server"
)

// replacedCAs says where the configuration names CAs that rotations have replaced. Who may
// not read rotations is told nothing of it.
func replacedCAs(ctx context.Context, client *admin.Client, dir string) ([]string, error) {
	list, err := client.Rotations(ctx)
	var refused *admin.Error
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rotations []ledger.Rotation
	for _, r := range list {
		rotations = append(rotations, ledger.Rotation{Kind: ledger.RotationKind(r.Kind), Old: r.Old, New: r.New, State: r.State, Since: r.Since})
	}
	return server.CheckReplaced(dir, rotations)
}
