"""What the product says about itself: the endpoint table and the generated blocks of AUDIT_FINDINGS.md."""
