package wiring

import (
	"context"
	"net/netip"
	"time"

	"github.com/clipferry/clipferry/config"
	"github.com/clipferry/clipferry/internal/archiveui"
	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/httpapi"
	"github.com/clipferry/clipferry/internal/verification"
)

// pages are the pages of the archive, and what keeps them up to date until its
// context ends; nil where nobody may open them.
func (f Front) pages(cfg *config.Config, loopback bool) (*archiveui.UI, func(context.Context), error) {
	open := f.ArchiveOpen && loopback
	if len(cfg.ArchiveAuth) == 0 && cfg.ArchiveProxyHeader == "" && !open {
		return nil, nil, nil
	}
	index := catalog.NewIndex()
	o := archiveui.Options{
		Clips: index, Files: f.Archive, Verified: verification.New(f.Archive).State, Logger: f.Logger, PublicURL: cfg.HTTPPublicURL, LinkTTL: cfg.HTTPLinkTTL,
		Proxy: archiveui.Proxy{Header: cfg.ArchiveProxyHeader, From: []netip.Prefix(cfg.ArchiveProxyCIDRs)},
	}
	if open {
		o.Local = httpapi.IsLocal
	}
	for _, u := range cfg.ArchiveAuth {
		o.Users = append(o.Users, archiveui.Credential{Name: u.User, Password: u.Password.Reveal()})
	}
	for _, k := range cfg.HTTPAPIKeys {
		o.Keys = append(o.Keys, archiveui.Key{Credential: archiveui.Credential{Name: k.Name, Password: k.Secret.Reveal()}, Tenant: &k.Name})
	}
	for _, k := range cfg.HTTPAdminKeys {
		o.Keys = append(o.Keys, archiveui.Key{Credential: archiveui.Credential{Name: k.Name, Password: k.Secret.Reveal()}})
	}
	for _, s := range cfg.HTTPSecret {
		o.Secrets = append(o.Secrets, s.Reveal())
	}
	ui, err := archiveui.New(o)
	if err != nil {
		return nil, nil, err
	}
	store, every := catalog.NewStore(f.Archive), catalog.DefaultFollowEvery
	if open { // somebody waits for it, and it costs nothing
		every = time.Second
	}
	return ui, func(ctx context.Context) { store.Follow(ctx, index, every, f.Logger) }, nil
}
