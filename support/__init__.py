"""What every program shares and no paper describes: command lines and files."""
