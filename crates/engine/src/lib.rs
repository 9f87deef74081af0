//! Containers, volumes and events: state machines and reconciliation. Knows neither HTTP nor Docker's JSON.
