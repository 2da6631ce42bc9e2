-- dump
INSERT INTO coupons VALUES (1,'AB-12');
INSERT INTO coupons VALUES (2,'CD-34');
